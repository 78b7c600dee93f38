-- Asks a front end of LCS Archive before a stanza is delivered: see README.md beside this folder. Prosody 13.
local async = require "util.async";
local jid = require "util.jid";
local sha256 = require "util.hashes".sha256;
local uuid = require "util.uuid";

local asking = module:require "asking";
local reading = module:require "reading";
local refusal_of, archive, refuse_past = asking.refusal_of, asking.archive, asking.refuse_past;

local allow_past = module:get_option_boolean("lcs_archive_allow_past", false);
local PUBSUB, PUBSUB_OWNER = "http://jabber.org/protocol/pubsub", "http://jabber.org/protocol/pubsub#owner";
local PUBLISHED = { [PUBSUB] = true, ["vcard-temp"] = true, ["urn:ietf:params:xml:ns:vcard-4.0"] = true };

-- The resource of somebody who is here is known; else anybody could write in it.
local function read(stanza)
	return reading.read(stanza, prosody.full_sessions[stanza.attr.to] and { to = true } or nil);
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
		return archive(event, sender, { jid.bare(to) }, read(stanza));
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
	local stanza = event.stanza;
	local sender, to = jid.bare(stanza.attr.from), stanza.attr.to;
	strip(stanza);
	if not to or is_room_of_ours(to) then -- to all contacts: for each it is fired again
		return nil;
	elseif refusal_of(event, sender, { jid.bare(to) }, read(stanza)) then
		reading.strip_presence(stanza, true); -- then that he is there, and no more
		local left = read(stanza);
		return (left.rest or left.words[1]) and true or nil;
	end
end

-- Whether only somebody himself may read what he publishes at a node: that is known of those that are in use.
local function is_private(himself, query)
	local node = query.tags[1] and query.tags[1].attr.node;
	for _, item in ipairs(module:get_host_items("pep-service")) do
		if node and item.jid == himself then
			local found, config = item.service:get_node_config(node, true);
			return found and config.access_model == "whitelist";
		end
	end
	return nil; -- nobody knows
end

-- What somebody publishes about himself (XEP-0054, 0163) is for his contacts, who may read it when they want.
local function on_publication(event)
	local stanza = event.stanza;
	local himself, query = jid.bare(stanza.attr.from), stanza.tags[1];
	local xmlns = query and query.attr.xmlns;
	if stanza.attr.type ~= "set" then
		return nil;
	elseif xmlns == PUBSUB_OWNER then -- what was private nobody was asked about: it stays so
		local change = query.tags[1] and query.tags[1].name;
		return change ~= "delete" and change ~= "purge" and is_private(himself, query) ~= false and refuse_past(event) or nil;
	elseif PUBLISHED[xmlns] and not is_private(himself, query) then
		local contacts = contacts_of(event.origin);
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
	return archive(event, sender, { jid.bare(to) }, read(stanza));
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
module:require "rooms"(asking);
