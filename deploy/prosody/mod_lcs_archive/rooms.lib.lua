-- What is said in a room of ours, or by way of it, is asked about where it is known who hears it.
local base64 = require "util.encodings".base64;
local jid = require "util.jid";
local st = require "util.stanza";

local reading = module:require "reading";
local occupant_ids = module:get_option_boolean("muc_occupant_id", true); -- then rooms make them (XEP-0421)
local allow_past = module:get_option_boolean("lcs_archive_allow_past", false);
local refusal_of, archive, refuse_past;

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
		local asked = { stanza = st.clone(stanza), origin = origin };
		if type == "result" or type == "error" then -- the room makes ids, with those that others made in them
			asked.stanza.attr.id = (base64.decode(stanza.attr.id) or ""):match("^%Z+%z(%Z*)%z") or stanza.attr.id;
		end
		local recipients = heard_in(room, sender, { occupant.bare_jid });
		return archive(asked, sender, recipients, reading.read(asked.stanza, NAMES), room.jid);
	end
end

return function (asking)
	refusal_of, archive, refuse_past = asking.refusal_of, asking.archive, asking.refuse_past;
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
end;
