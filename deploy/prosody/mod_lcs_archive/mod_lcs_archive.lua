-- Asks a front end of LCS Archive before a stanza is delivered: see README.md beside this folder. Prosody 0.12 and 13.
local async = require "util.async";
local cache = require "util.cache";
local jid = require "util.jid";
local sha256 = require "util.hashes".sha256;
local st = require "util.stanza";
local timer = require "util.timer";
local uuid = require "util.uuid";

local front_end = module:require "front_end";
local reading = module:require "reading";

local occupant_ids = module:get_option_boolean("muc_occupant_id", true); -- then rooms make them (XEP-0421)
local allow_past = module:get_option_boolean("lcs_archive_allow_past", false);
local PUBSUB, PUBSUB_OWNER = "http://jabber.org/protocol/pubsub", "http://jabber.org/protocol/pubsub#owner";
local PUBLISHED = { [PUBSUB] = true, ["vcard-temp"] = true, ["urn:ietf:params:xml:ns:vcard-4.0"] = true };

-- Names and ids that are in the archive as said between two, or in a room: said again they are nothing new.
local shared = module:shared("/*/lcs_archive/words");
shared.known = shared.known or cache.new(100000);
local approved = setmetatable({}, { __mode = "k" }); -- presences that were asked about, and go to one after the other

local function key_of(one, other, word)
	if other < one then
		one, other = other, one;
	end
	return one.." "..other.." "..word;
end

-- Prosody stops reading a connection while it waits, and when it goes on it forgets what LuaSocket has read ahead: the last
-- messages of a burst lay there until the sender wrote again (net.server_epoll of 13.0). A pause makes it look there. It
-- goes on in the next tick (util.async), so the one after is the first in which it may be done.
local function look_for_read_ahead(session)
	local function look()
		if session.conn and session.conn.pausefor and session.thread and session.thread.state == "ready" then
			session.conn:pausefor(0);
		end
	end
	timer.add_task(0, function () timer.add_task(0, look); end);
end

local function document_of(stanza)
	local document = st.clone(stanza);
	document.attr.xmlns = "jabber:client";
	return tostring(document);
end

-- Returns nil if what a stanza says may be delivered, else the error to tell its sender. `said` is what reading.read()
-- found in it; `where` is the room, or who gets it: with the sender that which knows words.
local function refusal_of(event, sender, recipients, said, where)
	local stanza, new = event.stanza, {};
	where = where or jid.bare(recipients[1]);
	for _, word in ipairs(said.words) do
		if not shared.known:get(key_of(sender, where, word)) then
			new[#new + 1] = word;
		end
	end
	if not said.rest and not said.texts[1] and stanza.name == "message" and stanza.attr.type ~= "error" then
		local id = stanza.attr.id; -- nobody needs it; and many write, or type, often
		if #new == 1 and new[1] == id then
			stanza.attr.id, new = nil, {};
		end
	end
	if not said.rest and not said.texts[1] and not new[1] then
		return nil;
	end
	local content_type, body = "text/plain", table.concat(said.texts, "\n");
	if said.rest or new[1] then
		content_type, body = "application/xmpp+xml", document_of(stanza);
	end
	local deliver, type, condition;
	if async.ready() then
		deliver, type, condition = front_end.ask(sender, recipients, content_type, body);
		look_for_read_ahead(event.origin);
	else
		module:log("error", "not delivered, as nobody can wait here for a front end's answer: %s", stanza:top_tag());
		deliver, type, condition = false, "wait", "service-unavailable";
	end
	if deliver then
		local archived = type;
		for _, word in ipairs(archived and new or {}) do
			shared.known:set(key_of(sender, where, word), true);
		end
		return nil;
	end
	return { type = type, condition = condition, text = "This could not be archived, so it was not delivered." };
end

-- Returns true, which ends the way of the stanza, and tells its sender.
local function refuse(event, refusal)
	local stanza = event.incoming or event.stanza;
	local type = stanza.attr.type;
	if event.origin.send and type ~= "error" and type ~= "result" then -- a component that has gone meanwhile can't be told
		event.origin.send(st.error_reply(stanza, refusal.type, refusal.condition, refusal.text));
	end
	return true;
end

local function archive(event, sender, recipients, said, where)
	local refusal = refusal_of(event, sender, recipients, said, where);
	return refusal and refuse(event, refusal);
end

-- What is said in a room of ours, or by way of it, is asked about there: there it is known who hears it.
local function is_room_of_ours(to)
	local host = prosody.hosts[jid.host(to)];
	return host and host.modules.muc and host.modules[module.name];
end

local function strip(stanza)
	if stanza.attr.type == "error" then
		reading.strip_error(stanza);
	elseif stanza.name == "presence" then
		reading.strip_presence(stanza);
	end
end

local function on_message(event)
	local stanza = event.stanza;
	local sender, to = jid.bare(stanza.attr.from), stanza.attr.to or stanza.attr.from;
	strip(stanza);
	if stanza.attr.type == "groupchat" and not stanza.attr.id then
		stanza.attr.id = uuid.generate(); -- else a room makes one that is no token
	end
	if not is_room_of_ours(to) then
		return archive(event, sender, { jid.bare(to) }, reading.read(stanza));
	end
end

-- Contacts who see somebody's presence and what he publishes.
local function contacts_of(session)
	local contacts = {};
	for contact, item in pairs(session.roster or {}) do
		if contact and (item.subscription == "both" or item.subscription == "from") then
			contacts[#contacts + 1] = contact;
		end
	end
	return contacts;
end

local function on_presence(event)
	local stanza, origin = event.stanza, event.origin;
	local to, sender = stanza.attr.to, jid.bare(stanza.attr.from);
	strip(stanza);
	if (to and is_room_of_ours(to)) or approved[stanza] then
		return nil;
	end
	local recipients = to and { jid.bare(to) } or contacts_of(origin);
	if not recipients[1] then
		return nil;
	end
	if refusal_of(event, sender, recipients, reading.read(stanza), not to and sender or nil) then
		reading.strip_presence(stanza, true); -- then that he is there, and no more
		local left = reading.read(stanza);
		return (left.rest or left.words[1]) and true or nil;
	end
	approved[stanza] = not to or nil;
end

local function refuse_past(event)
	local stanza = event.stanza;
	module:log("warn", "%s offered %s what goes past the archive", jid.bare(stanza.attr.from), stanza.attr.to);
	return refuse(event, { type = "modify", condition = "not-acceptable", text = "This would go past the archive." });
end

-- What somebody publishes about himself (XEP-0054, 0163) is for his contacts, who may read it when they want.
local function on_publication(event)
	local stanza, origin = event.stanza, event.origin;
	local payload = stanza.tags[1];
	local xmlns = payload and payload.attr.xmlns;
	local form = payload and payload:find("publish-options/{jabber:x:data}x") or payload and payload:find("configure/{jabber:x:data}x");
	local access = form and form:get_child_with_attr("field", nil, "var", "pubsub#access_model");
	local is_private = access and access:get_child_text("value") == "whitelist";
	if stanza.attr.type ~= "set" or is_private then
		return nil;
	elseif xmlns == PUBSUB_OWNER then -- what was private, and not asked about, stays so
		return not (payload:get_child("delete") or payload:get_child("purge")) and refuse_past(event) or nil;
	elseif PUBLISHED[xmlns] then
		local contacts, himself = contacts_of(origin), jid.bare(stanza.attr.from);
		return archive(event, himself, contacts[1] and contacts or { himself }, reading.read(stanza));
	end
end

local function on_iq(event)
	local stanza = event.stanza;
	local sender, to, type = jid.bare(stanza.attr.from), stanza.attr.to, stanza.attr.type;
	local node, domain, resource = jid.split(to);
	local host = prosody.hosts[domain];
	if type == "error" then
		strip(stanza);
	end
	if not to or jid.bare(to) == sender then
		return on_publication(event);
	elseif is_room_of_ours(to) or (host and host.type == "local" and not node) then
		return nil;
	elseif host and host.type == "local" and not resource and type ~= "set" then -- the server answers
		return nil;
	elseif not allow_past and reading.goes_past(stanza) then
		return refuse_past(event);
	end
	return archive(event, sender, { jid.bare(to) }, reading.read(stanza));
end

-- Where an external component is read nothing may wait (mod_component), so its stanzas go on in a thread, in their order.
local function go_on_in_thread(origin, stanza)
	origin.thread = origin.thread or async.runner(function (each) prosody.core_process_stanza(origin, each); end, {
		waiting = function () origin.conn:pause(); end;
		ready = function () if origin.conn then origin.conn:resume(); end end;
		error = function (_, err) module:log("error", "not delivered: %s", err); end;
	});
	origin.thread:run(stanza);
end

local ON = { message = on_message, presence = on_presence, iq = on_iq };

-- From another server or an external component: nothing is fired before ("pre-message") for what these send.
local function on_stanza_from_afar(event)
	local origin = event.origin;
	local is_component = origin.type == "component" and origin.conn; -- components of Prosody's own have no connection
	if is_component and not async.ready() then
		go_on_in_thread(origin, event.stanza);
		return true;
	elseif is_component or origin.type == "s2sin" or origin.type == "s2sout" then -- with mod_s2s_bidi both ways
		return ON[event.stanza.name](event);
	end
end

local function on_stanza_to_afar(event)
	if event.origin and event.origin.type == "component" and ON[event.stanza.name] then
		return on_stanza_from_afar(event);
	end
end

-- The room hears it too if nobody of ours is in it, or nobody at all: the room is ours, and who comes later reads it.
local function heard_in(room, sender, recipients)
	local ours = prosody.hosts[jid.host(sender)];
	for _, recipient in ipairs(recipients) do
		ours = ours or prosody.hosts[jid.host(recipient)];
	end
	if not recipients[1] or not ours then
		recipients[#recipients + 1] = room.jid;
	end
	return recipients;
end

local function others_in(room, but)
	local others, seen = {}, { [but] = true };
	for _, occupant in room:each_occupant() do
		if not seen[occupant.bare_jid] then
			seen[occupant.bare_jid] = true;
			others[#others + 1] = occupant.bare_jid;
		end
	end
	return heard_in(room, but, others);
end

local NAMES = { from = true, to = true }; -- in a room: see on_name

local function read_in_room(stanza)
	local said = reading.read(stanza, NAMES);
	local by_room = occupant_ids and stanza:get_child("occupant-id", "urn:xmpp:occupant-id:0");
	for place = #said.words, 1, -1 do
		if by_room and said.words[place] == by_room.attr.id then
			table.remove(said.words, place);
		end
	end
	return said;
end

local function archive_in_room(event, sender, said)
	return archive(event, sender, others_in(event.room, sender), said, event.room.jid);
end

local function on_message_in_room(event)
	return archive_in_room(event, jid.bare(event.stanza.attr.from), read_in_room(event.stanza));
end

local function on_subject(event) -- mod_muc takes it at 20
	local stanza = event.stanza;
	if stanza:get_child("subject") and not (stanza:get_child("body") or stanza:get_child("thread")) then
		return on_message_in_room(event);
	end
end

local function on_private_message(event)
	local room, stanza = event.room, event.stanza; -- here both go by their names in the room
	local sender, recipient = room:get_occupant_by_nick(stanza.attr.from), room:get_occupant_by_nick(stanza.attr.to);
	local recipients = heard_in(room, sender.bare_jid, { recipient.bare_jid });
	local refusal = refusal_of(event, sender.bare_jid, recipients, read_in_room(stanza), room.jid);
	if refusal then
		room:route_to_occupant(sender, st.error_reply(stanza, refusal.type, refusal.condition, refusal.text));
		return false; -- here this ends its way
	end
end

-- A room passes on an invitation, and that it is declined, with the reason; it says both in a body of its own if the
-- sender gave none.
local function on_invitation(event)
	local stanza, incoming = event.stanza, st.clone(event.incoming);
	incoming:remove_children("x", "http://jabber.org/protocol/muc#user");
	local said = reading.read(incoming);
	if said.texts[1] then
		said.rest = true;
	else
		said.texts[1] = stanza:get_child_text("body");
	end
	return archive(event, jid.bare(incoming.attr.from), { jid.bare(stanza.attr.to) }, said);
end

-- Somebody is in a room by a name that he chose.
local function on_name(event)
	local stanza, occupant = st.clone(event.stanza), event.dest_occupant or event.occupant;
	stanza:remove_children("x", "http://jabber.org/protocol/muc"); -- with a password: the room keeps it
	local sender, name = jid.bare(stanza.attr.from), jid.resource(occupant.nick);
	local said = read_in_room(stanza);
	if not reading.is_token(name) and name ~= jid.node(sender) then
		said.words[#said.words + 1] = name;
	end
	return archive_in_room({ stanza = stanza, origin = event.origin, room = event.room }, sender, said);
end

local FROM_ROOM = { from = true, to = true, id = true };

-- A query to somebody in a room reaches him; one to the room may change what all see.
local function on_iq_in_room(event)
	local stanza, origin = event.stanza, event.origin;
	local sender, to, type = jid.bare(stanza.attr.from), stanza.attr.to, stanza.attr.type;
	local rooms = prosody.hosts[module.host].modules.muc;
	local room = rooms and rooms.get_room_from_jid(jid.bare(to));
	if not room or origin == prosody.hosts[jid.host(sender)] then -- it comes from Prosody itself
		return nil;
	elseif not jid.resource(to) then
		local said = type == "set" and reading.read(stanza);
		return said and archive_in_room({ stanza = stanza, origin = origin, room = room }, sender, said) or nil;
	elseif not allow_past and reading.goes_past(stanza) then
		return refuse_past(event);
	end
	local occupant = room:get_occupant_by_nick(to);
	if occupant and occupant.bare_jid ~= sender then
		local said = reading.read(stanza, (type == "result" or type == "error") and FROM_ROOM or NAMES);
		return archive(event, sender, heard_in(room, sender, { occupant.bare_jid }), said, room.jid);
	end
end

-- What a client calls itself is seen by all: it is given another name if it could say something.
local function on_bind(event)
	local resource = event.resource;
	if resource and not reading.is_token(resource) then
		event.resource = sha256(resource, true):sub(1, 16);
	end
end

for kind, on in pairs(ON) do
	for _, place in ipairs({ "bare", "full", "host" }) do
		local priority = kind == "presence" and 100 or -100; -- before mod_presence; after others have changed or refused it
		module:hook("pre-"..kind.."/"..place, on, priority);
		module:hook(kind.."/"..place, on_stanza_from_afar, 1000); -- before it is stored or copied
	end
end
module:hook("route/remote", on_stanza_to_afar, 1000);
module:hook("pre-resource-bind", on_bind);
-- After a room's own checks:
module:hook("muc-occupant-groupchat", on_subject, 25);
module:hook("muc-occupant-groupchat", on_message_in_room, -100);
module:hook("muc-private-message", on_private_message, -100);
module:hook("muc-invite", on_invitation, -100);
module:hook("muc-decline", on_invitation, -100);
module:hook("muc-occupant-pre-join", on_name, -100);
module:hook("muc-occupant-pre-change", on_name, -100);
module:hook("iq/bare", on_iq_in_room, 900);
module:hook("iq/full", on_iq_in_room, 900);
