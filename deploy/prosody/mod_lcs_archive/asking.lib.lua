-- Asks about a stanza, once it is read, and tells its sender if it is not delivered.
local async = require "util.async";
local cache = require "util.cache";
local jid = require "util.jid";
local st = require "util.stanza";
local timer = require "util.timer";

local front_end = module:require "front_end";
local refused = module:metric("counter", "refused", "", "What would have gone past the archive, and was refused");

-- Names and ids that two people, or those in a room, know: what is in the archive as said between them, and by what names of
-- clients they speak. Said again they are nothing new.
local shared = module:shared("/*/lcs_archive/words");
shared.known = shared.known or cache.new(100000);

local function key_of(one, other, word)
	if other < one then
		one, other = other, one;
	end
	return one.." "..other.." "..word;
end

local function note(one, other, word)
	shared.known:set(key_of(one, other, word), true);
end

local function new_among(words, one, other)
	local new = {};
	for _, word in ipairs(words) do
		if not shared.known:get(key_of(one, other, word)) then
			new[#new + 1] = word;
		end
	end
	return new;
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

local function ask(event, sender, recipients, content_type, body)
	if not async.ready() then
		module:log("error", "not delivered, as nobody can wait here for a front end: %s", event.stanza:top_tag());
		return { type = "wait", condition = "service-unavailable" };
	end
	local refusal, archived = front_end.ask(sender, recipients, content_type, body);
	look_for_read_ahead(event.origin);
	return refusal, archived;
end

-- Returns nil if what a stanza says may be delivered, else the error to tell its sender. `said` is what reading.read()
-- found in it; `where` is the room, or who gets it: with the sender that which knows words.
local function refusal_of(event, sender, recipients, said, where)
	local stanza = event.stanza;
	where = where or recipients[1];
	local new = new_among(said.words, sender, where);
	local is_empty = not said.rest and not said.texts[1];
	if is_empty and #new == 1 and new[1] == stanza.attr.id and stanza.name == "message" and stanza.attr.type ~= "error" then
		stanza.attr.id, new = nil, {}; -- nobody needs it, and to ask takes time: people type, and clients tell of it, often
	end
	if not is_empty or new[1] then
		local content_type, body = "text/plain", table.concat(said.texts, "\n");
		if said.rest or new[1] then
			content_type, body = "application/xmpp+xml", document_of(stanza);
		end
		local refusal, archived = ask(event, sender, recipients, content_type, body);
		if refusal then
			return refusal;
		end
		for _, word in ipairs(archived and new or {}) do
			note(sender, where, word);
		end
	end
	note(sender, where, jid.resource(stanza.attr.from) or ""); -- an answer may go to it
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

-- As the front end names what would go past the archive (contract/sdp.py).
local KINDS = {
	["urn:xmpp:jingle:transports:dtls-sctp:1"] = "datachannel"; ["http://jabber.org/protocol/ibb"] = "file";
	["http://jabber.org/protocol/bytestreams"] = "file"; ["http://jabber.org/protocol/si"] = "file";
};

local function kind_of(tag)
	local xmlns = tag.attr.xmlns or "";
	local kind = KINDS[xmlns] or (xmlns:find("^urn:xmpp:jingle:apps:file%-transfer:") and "file")
		or (tag.name == "description" and tag.attr.media == "text" and "t140");
	for _, child in ipairs(tag.tags) do
		kind = kind or kind_of(child);
	end
	return kind;
end

local function refuse_past(event)
	local stanza = event.stanza;
	local sender = jid.bare(stanza.attr.from);
	module:log("warn", "%s offered %s what goes past the archive", sender, stanza.attr.to);
	refused:with_labels():add(1);
	front_end.note_attempt(sender, stanza.attr.to or sender, kind_of(stanza) or "other");
	return refuse(event, { type = "modify", condition = "not-acceptable", text = "This would go past the archive." });
end

return { refusal_of = refusal_of; archive = archive; refuse_past = refuse_past };
