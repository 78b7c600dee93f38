-- What a stanza says. Empty is only what is proved so: each element and attribute is known, and is exactly what its XEP
-- wants. All else is content. README.md has the table.
local jid = require "util.jid";

local features = module:require "features";
local MUC, MUC_USER = "http://jabber.org/protocol/muc", "http://jabber.org/protocol/muc#user";
local MOST = 64; -- characters of a token

-- Machines make ids; people could write in them. A token spells hardly a word: of letters beyond a-f (hexadecimal
-- digits) no two stand side by side.
local function is_token(text)
	return #text <= MOST and text:find("^[%w_.:+=/-]*$") and not text:find("[g-zG-Z][g-zG-Z]");
end

-- Checks of an attribute's value or an element's text. What only may be said if it was said before is noted in `words`.
local check = {};

function check.word(value, reading)
	if not is_token(value) then
		reading.words[#reading.words + 1] = value;
	end
	return true;
end

function check.name(value, reading) -- of somebody's client: one word, as each message has it
	if #value > MOST or value:find("[^%w_.:+=/#@-]") then
		reading.words[#reading.words + 1] = value;
	end
	return true;
end

function check.number(value) return value:find("^[+-]?%d+$") and #value <= 10; end

function check.time(value) -- XEP-0082, XEP-0091
	return value:find("^%d%d%d%d%-?%d%d%-?%d%dT%d%d:%d%d:%d%d[.%d]*Z?[+-]?[%d:]*$") and #value <= 40;
end

function check.language(value) -- RFC 5646: language, script, region; the rest could spell words
	local rest = value:match("^%a%a%a?(.*)$");
	rest = rest and rest:gsub("^%-%a%a%a%a%f[-\0]", ""):gsub("^%-%a%a%f[-\0]", ""):gsub("^%-%d%d%d%f[-\0]", "");
	return rest == "";
end

function check.hash(value) return value:find("^[%w+/]+=$") and #value == 28; end -- SHA-1, base64

function check.client(value) return value:find("^https?://[%w.-]+[%w._~/-]*$") and #value <= MOST; end -- XEP-0115

function check.version(value, reading)
	local client, hash = value:match("^(.*)#(.*)$");
	return client and check.client(client) and check.hash(hash) or check.word(value, reading);
end

function check.participant(value, reading) return reading.participants[value]; end

local function one_of(...)
	local values = {};
	for _, value in ipairs({...}) do values[value] = true; end
	return function (value) return values[value]; end;
end

local function has_only(tag, reading, checks)
	for name, value in pairs(tag.attr) do
		local is_right = checks[name];
		if name ~= "xmlns" and not (is_right and is_right(value, reading)) then
			return false;
		end
	end
	return true;
end

-- An element with these attributes at most and nothing in it.
local function leaf(checks)
	return function (tag, reading) return not tag[1] and has_only(tag, reading, checks or {}); end;
end

-- An element with these attributes at most and a text that passes a check.
local function text(is_right, checks)
	return function (tag, reading)
		return not tag.tags[1] and has_only(tag, reading, checks or {}) and is_right(tag:get_text() or "", reading);
	end;
end

-- An element with these attributes at most, and of these elements any number.
local function node(checks, children)
	return function (tag, reading)
		if #tag ~= #tag.tags or not has_only(tag, reading, checks) then
			return false;
		end
		for _, child in ipairs(tag.tags) do
			local proves = child.attr.xmlns == tag.attr.xmlns and children[child.name];
			if not (proves and proves(child, reading)) then
				return false;
			end
		end
		return true;
	end;
end

local id = { id = check.word };
local occupant = node({}, {
	status = leaf({ code = function (value) return value:find("^%d%d%d$"); end });
	item = leaf({
		affiliation = one_of("owner", "admin", "member", "none", "outcast");
		role = one_of("moderator", "participant", "visitor", "none");
		jid = check.word; nick = check.word;
	});
});
local delay = leaf({ stamp = check.time; from = check.participant });

local is_language = { ["xml:lang"] = check.language };
local function error_stripped() return true; end -- see strip_error

local EMPTY = {
	message = {
		["jabber:client error"] = error_stripped;
		["jabber:client body"] = function (tag, reading) -- a text is no more than a text
			local said = tag:get_text();
			if said and said ~= "" then
				reading.texts[#reading.texts + 1] = said;
			end
			return said and has_only(tag, reading, is_language);
		end;
		["jabber:client thread"] = text(check.word, { parent = check.word });
		["jabber:client subject"] = leaf(is_language); -- it takes a room's subject away
		["urn:xmpp:receipts request"] = leaf(); -- XEP-0184
		["urn:xmpp:receipts received"] = leaf(id);
		["urn:xmpp:chat-markers:0 markable"] = leaf(); -- XEP-0333
		["urn:xmpp:sid:0 origin-id"] = leaf(id); -- XEP-0359
		["urn:xmpp:sid:0 stanza-id"] = leaf({ id = check.word; by = check.participant });
		["urn:xmpp:occupant-id:0 occupant-id"] = leaf(id); -- XEP-0421
		["urn:xmpp:carbons:2 private"] = leaf(); -- XEP-0280
		["urn:xmpp:delay delay"] = delay; -- XEP-0203
		["jabber:x:delay x"] = delay;
		[MUC_USER.." x"] = occupant; -- XEP-0045
	};
	presence = {
		["jabber:client error"] = error_stripped;
		["jabber:client show"] = text(one_of("away", "chat", "dnd", "xa"));
		["jabber:client priority"] = text(check.number);
		["http://jabber.org/protocol/caps c"] = leaf({ -- XEP-0115
			hash = one_of("sha-1"); ver = check.hash; node = check.client;
		});
		["vcard-temp:x:update x"] = node({}, { photo = text(function (value) return value == "" or value:find("^%x+$") and #value == 40; end) }); -- XEP-0153
		["urn:xmpp:idle:1 idle"] = leaf({ since = check.time }); -- XEP-0319
		["urn:xmpp:occupant-id:0 occupant-id"] = leaf(id);
		["urn:xmpp:delay delay"] = delay;
		[MUC.." x"] = node({}, {
			history = leaf({
				maxchars = check.number; maxstanzas = check.number; seconds = check.number; since = check.time;
			});
		});
		[MUC_USER.." x"] = occupant;
	};
	iq = {
		["jabber:client error"] = error_stripped;
		["urn:xmpp:ping ping"] = leaf(); -- XEP-0199
		["urn:xmpp:time time"] = leaf(); -- XEP-0202
		["jabber:iq:version query"] = leaf(); -- XEP-0092
		["jabber:iq:last query"] = leaf({ seconds = check.number }); -- XEP-0012
		["http://jabber.org/protocol/disco#info query"] = node({ node = check.version }, { -- XEP-0030
			identity = leaf({
				category = one_of("client", "component"); ["xml:lang"] = check.language;
				type = one_of("bot", "console", "game", "generic", "handheld", "pc", "phone", "sms", "tablet", "web");
			});
			feature = leaf({ var = function (value) return features[value:gsub("%+notify$", "")]; end });
		});
		["http://jabber.org/protocol/disco#items query"] = leaf({ node = check.word });
		["vcard-temp vCard"] = leaf(); -- XEP-0054
	};
};
for _, state in ipairs({ "active", "composing", "paused", "inactive", "gone" }) do -- XEP-0085
	EMPTY.message["http://jabber.org/protocol/chatstates "..state] = leaf();
end
for _, marker in ipairs({ "received", "displayed", "acknowledged" }) do
	EMPTY.message["urn:xmpp:chat-markers:0 "..marker] = leaf(id);
end
for _, hint in ipairs({ "no-copy", "no-store", "no-permanent-store", "store" }) do -- XEP-0334
	EMPTY.message["urn:xmpp:hints "..hint] = leaf();
end

local TYPES = {
	message = one_of("normal", "chat", "groupchat", "headline", "error");
	presence = one_of("unavailable", "subscribe", "subscribed", "unsubscribe", "unsubscribed", "probe", "error");
	iq = one_of("get", "set", "result", "error");
};
local CONDITIONS = one_of( -- RFC 6120, 8.3.3
	"bad-request", "conflict", "feature-not-implemented", "forbidden", "gone", "internal-server-error", "item-not-found",
	"jid-malformed", "not-acceptable", "not-allowed", "not-authorized", "payment-required", "policy-violation",
	"recipient-unavailable", "redirect", "registration-required", "remote-server-not-found", "remote-server-timeout",
	"resource-constraint", "service-unavailable", "subscription-required", "undefined-condition", "unexpected-request");
local KEPT = one_of("from", "to", "id", "type", "xml:lang", "xmlns");
local ERROR_TYPES = one_of("auth", "cancel", "continue", "modify", "wait");

local function key_of(tag) return (tag.attr.xmlns or "jabber:client").." "..tag.name; end

-- Those whom a server may name: sender and recipient, with and without resource, and their servers.
local function participants_of(stanza)
	local participants = {};
	for _, address in pairs({ stanza.attr.from or "", stanza.attr.to or "" }) do
		participants[address] = true;
		participants[jid.bare(address) or ""] = true;
		participants[jid.host(address) or ""] = true;
	end
	return participants;
end

-- Returns what a stanza says: `texts` of its bodies, `rest` if there is content besides, and the `words` of names and
-- ids that may be said again but not for the first time. `vetted`: attributes of its own that others answer for.
local function read(stanza, vetted)
	local reading = { texts = {}, words = {}, rest = false, participants = participants_of(stanza) };
	for name, value in pairs(stanza.attr) do
		if vetted and vetted[name] then -- nothing to look at
		elseif name == "id" then
			check.word(value, reading);
		elseif name == "from" or name == "to" then
			check.name(jid.resource(value) or "", reading);
		elseif name == "type" then
			reading.rest = reading.rest or not TYPES[stanza.name](value);
		elseif name == "xml:lang" then
			reading.rest = reading.rest or not check.language(value);
		elseif name ~= "xmlns" then
			reading.rest = true;
		end
	end
	for _, child in ipairs(stanza) do
		local proves = type(child) == "table" and EMPTY[stanza.name][key_of(child)];
		if not (proves and proves(child, reading)) then
			reading.rest = true;
		end
	end
	return reading;
end

local function strip_attributes(stanza)
	for name, value in pairs(stanza.attr) do
		if name == "xml:lang" and not check.language(value) or not KEPT(name) then
			stanza.attr[name] = nil;
		end
	end
end

-- Nobody says anything by an error: type and condition are left of it.
local function strip_error(stanza)
	local type, condition = stanza:get_error();
	strip_attributes(stanza);
	for place = #stanza, 1, -1 do stanza[place] = nil; end
	for place = #stanza.tags, 1, -1 do stanza.tags[place] = nil; end
	stanza:reset():tag("error", { type = ERROR_TYPES(type) and type or "cancel" })
		:tag(CONDITIONS(condition) and condition or "undefined-condition", { xmlns = "urn:ietf:params:xml:ns:xmpp-stanzas" })
		:reset();
end

-- A presence says that somebody is there, no more: status, nickname and what is not known are left out of it. What
-- belongs to rooms stays, and is content if it isn't proved empty. `to_the_bone`: client and avatar are left out too.
local function strip_presence(stanza, to_the_bone)
	local reading = { words = {}, participants = participants_of(stanza) };
	stanza:maptags(function (tag)
		local proves = EMPTY.presence[key_of(tag)];
		if to_the_bone and tag.name ~= "show" and tag.name ~= "priority" then
			return nil;
		end
		return (tag.attr.xmlns == MUC or tag.attr.xmlns == MUC_USER or proves and proves(tag, reading)) and tag or nil;
	end);
	if #stanza ~= #stanza.tags then -- text between tags
		for place = #stanza, 1, -1 do stanza[place] = stanza.tags[place]; end
	end
	strip_attributes(stanza);
	if stanza.attr.id and not is_token(stanza.attr.id) then
		stanza.attr.id = nil;
	end
end

local PAST = { -- what is agreed in it goes between two clients, not through their server
	["http://jabber.org/protocol/bytestreams"] = true; ["http://jabber.org/protocol/ibb"] = true;
	["http://jabber.org/protocol/si"] = true; ["urn:xmpp:jingle:transports:s5b:1"] = true;
	["urn:xmpp:jingle:transports:ibb:1"] = true; ["urn:xmpp:jingle:transports:dtls-sctp:1"] = true;
};
local RTP = "urn:xmpp:jingle:apps:rtp:";

-- Whether a query offers to send files or text past the server. Jingle may: sound and pictures (XEP-0167).
local function goes_past(tag)
	local xmlns = tag.attr.xmlns or "";
	if PAST[xmlns] then
		return true;
	elseif tag.name == "description" and xmlns:find("^urn:xmpp:jingle:apps:") then
		if xmlns:sub(1, #RTP) ~= RTP or not (tag.attr.media == "audio" or tag.attr.media == "video") then
			return true;
		end
	end
	for _, child in ipairs(tag.tags) do
		if goes_past(child) then
			return true;
		end
	end
	return false;
end

return { read = read; is_token = is_token; strip_error = strip_error; strip_presence = strip_presence; goes_past = goes_past };
