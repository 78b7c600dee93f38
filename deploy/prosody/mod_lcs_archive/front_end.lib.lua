-- Asks a front end whether what is said may be delivered.
local async = require "util.async";
local jid = require "util.jid";
local json = require "util.json";
local promise = require "util.promise";
local st = require "util.stanza";
local timer = require "util.timer";
local uuid = require "util.uuid";
local to_unicode = require "util.encodings".idna.to_unicode;
local http = require "net.http".new({ connection_pooling = true, suppress_errors = true });

local url = module:get_option_string("lcs_archive_url", "http://127.0.0.1:8080/v1/messages");
local token_file = module:get_option_string("lcs_archive_token_file");
local seconds = module:get_option_number("lcs_archive_timeout", 4); -- more than the front end's own deadline

local NOT_THERE = { ["remote-server-not-found"] = true, ["remote-server-timeout"] = true };

-- Without a token nothing can be archived: then nothing is delivered. A module that failed to load would let all pass.
local function read_token()
	local file, err = io.open(token_file or "");
	if not file then
		module:log("error", "no message is delivered: lcs_archive_token_file must name the file of a connector's token: %s", err);
		return nil;
	end
	local token = file:read("*l");
	file:close();
	return token;
end

local token = read_token();

-- Returns the URI (RFC 5122) of a person, room, server or component.
local function uri_of(address)
	return "xmpp:"..jid.bare(address):gsub("[^%w._~!$&'()*+,=@\128-\255-]", function (character)
		return ("%%%02X"):format(character:byte());
	end);
end

-- Returns the address of somebody whom a front end names: a SIP URI, without XEP-0106's escapes and with A-labels.
local function address_of(uri)
	local user, host = uri:match("^sip:([^@]+)@([^@]+)$");
	if user then
		user = jid.escape((user:gsub("%%(%x%x)", function (hex) return string.char(tonumber(hex, 16)); end)));
	end
	return jid.prep(jid.join(user, to_unicode(host or uri:match("^sip:(.+)$"))));
end

local function request(path, body)
	return http:request(url:gsub("messages$", path), {
		method = "POST"; body = body;
		headers = { ["Content-Type"] = "application/json"; ["Authorization"] = "Bearer "..token };
	});
end

-- Resolves when a server has taken what was sent to it before: when it answers a ping. An error that Prosody makes for it is no answer.
local function when_taken(server)
	local ping = st.iq({ type = "get", from = module.host, to = server, id = uuid.generate() }):tag("ping", { xmlns = "urn:xmpp:ping" });
	return module:send_iq(ping):catch(function (err)
		if NOT_THERE[err.condition] then
			error(err);
		end
	end);
end

-- Partners are told that they are archived: as a front end says, before what is said. It hears when their servers have that,
-- or that they can't be reached.
local function tell_partners(im, notices)
	local taken = {};
	for place, notice in ipairs(notices) do
		local attr = { from = address_of(notice.sender), to = address_of(notice.to), type = "chat", id = uuid.generate() };
		attr["xml:lang"] = notice.language;
		module:send(st.message(attr, notice.text));
		taken[place] = when_taken(jid.host(attr.to));
	end
	promise.all(taken):next(function () return "delivered"; end, function (err)
		module:log("warn", "a partner could not be told that he is archived: %s", err);
		return "undelivered";
	end):next(function (word) return request("notices/"..im.."/"..word); end):catch(function (err)
		module:log("warn", "no front end heard whether a partner was told that he is archived: %s", err);
	end);
end

local function refusal(type, condition)
	return { type = type, condition = condition, text = "This could not be archived, so it was not delivered." };
end

-- Returns nil and whether it is archived, if what is said may be delivered; else the error to tell its sender.
local function ask(sender, recipients, content_type, body)
	if not token then
		return refusal("wait", "service-unavailable");
	end
	local uris = {};
	for place, recipient in ipairs(recipients) do
		uris[place] = uri_of(recipient);
	end
	local im = { sender = uri_of(sender), recipients = uris, content_type = content_type, body = body };
	local asked = request("messages", json.encode(im));
	local late = promise.new(function (_, reject)
		timer.add_task(seconds, function () reject("no answer in time"); end);
	end);
	local answer, err = async.wait_for(promise.race({ asked, late }));
	if not answer then
		module:log("error", "not archived, so not delivered: %s", err);
		return refusal("wait", "service-unavailable");
	elseif answer.code == 200 or answer.code == 201 or answer.code == 202 then
		local said = json.decode(answer.body) or {};
		if said.notices and said.notices[1] then
			tell_partners(said.id, said.notices);
		end
		return nil, said.archived;
	end
	module:log("warn", "not archived, so not delivered: %d %s", answer.code, answer.body);
	if answer.code >= 400 and answer.code < 500 then
		return refusal("modify", "not-acceptable");
	end
	return refusal("wait", "service-unavailable");
end

-- Somebody's client tried to talk past the archive: it is counted, and an alert names who does so often. Nobody waits for that.
local function note_attempt(sender, recipient, kind)
	local attempt = { sender = uri_of(sender), recipient = uri_of(recipient), kind = kind };
	request("attempts", json.encode(attempt)):next(function (answer)
		if answer.code ~= 204 then
			module:log("warn", "an attempt is not noted: %d %s", answer.code, answer.body);
		end
	end, function (err)
		module:log("warn", "an attempt is not noted: %s", err);
	end);
end

return { ask = ask, note_attempt = note_attempt };
