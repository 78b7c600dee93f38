-- Asks a front end of LCS Archive before a message is delivered: see README.md beside this file. Prosody 0.12 and 13.
local async = require "util.async";
local jid = require "util.jid";
local json = require "util.json";
local promise = require "util.promise";
local st = require "util.stanza";
local timer = require "util.timer";
local http = require "net.http".new({ connection_pooling = true, suppress_errors = true });

local url = module:get_option_string("lcs_archive_url", "http://127.0.0.1:8080/v1/messages");
local token_file = module:get_option_string("lcs_archive_token_file");
local seconds = module:get_option_number("lcs_archive_timeout", 4); -- more than the front end's own deadline

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

-- Partners are told that they are archived: as a front end says, before what is said.
local function tell_partners(notices)
	for _, notice in ipairs(notices or {}) do
		local sender, to = notice.sender:gsub("^sips?:", ""), notice.to:gsub("^sips?:", "");
		module:send(st.message({ from = sender, to = to, type = "chat", ["xml:lang"] = notice.language }, notice.text));
	end
end

-- What a front end says of an IM: whether to deliver it, and if not, what to tell the sender.
local function ask(im)
	if not token then
		return false, "wait", "service-unavailable";
	end
	local asked = http:request(url, {
		method = "POST";
		headers = { ["Content-Type"] = "application/json"; ["Authorization"] = "Bearer " .. token };
		body = json.encode(im);
	});
	local late = promise.new(function (_, reject)
		timer.add_task(seconds, function () reject("no answer in time"); end);
	end);
	local answer, err = async.wait_for(promise.race({ asked, late }));
	if not answer then
		module:log("error", "not archived, so not delivered: %s", err);
		return false, "wait", "service-unavailable";
	elseif answer.code == 200 or answer.code == 201 or answer.code == 202 then
		tell_partners((json.decode(answer.body) or {}).notices);
		return true;
	end
	module:log("warn", "not archived, so not delivered: %d %s", answer.code, answer.body);
	if answer.code >= 400 and answer.code < 500 then
		return false, "modify", "not-acceptable";
	end
	return false, "wait", "service-unavailable";
end

local function is_said(stanza)
	-- No body: typing notices, receipts, markers. Nobody says anything in them.
	return stanza.attr.type ~= "error" and stanza:get_child_text("body") ~= nil;
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

-- Returns true, which ends the way of the stanza, unless it may be delivered.
local function archive(event, recipients)
	local origin, stanza = event.origin, event.stanza;
	local deliver, type, condition = ask({
		sender = jid.bare(stanza.attr.from);
		recipients = recipients;
		body = stanza:get_child_text("body");
	});
	look_for_read_ahead(origin);
	if not deliver then
		origin.send(st.error_reply(stanza, type, condition, "This message could not be archived, so it was not delivered."));
		return true;
	end
end

local function on_message(event)
	-- What is said in a room is asked about where the room is: there it is known who is in it.
	if event.stanza.attr.type ~= "groupchat" and is_said(event.stanza) then
		local to = event.stanza.attr.to or event.stanza.attr.from;
		return archive(event, { jid.bare(to) });
	end
end

local function on_message_from_afar(event)
	if event.origin.type == "s2sin" then
		return on_message(event);
	end
end

local function on_message_in_room(event)
	if not is_said(event.stanza) then
		return;
	end
	local sender, recipients, seen = jid.bare(event.stanza.attr.from), {}, {};
	seen[sender] = true;
	for _, occupant in event.room:each_occupant() do
		if not seen[occupant.bare_jid] then
			seen[occupant.bare_jid] = true;
			recipients[#recipients + 1] = occupant.bare_jid;
		end
	end
	if #recipients > 0 then -- who talks to himself in an empty room tells nobody
		return archive(event, recipients);
	end
end

if module:get_host_type() == "component" then
	module:hook("muc-occupant-groupchat", on_message_in_room, -100); -- after the room's own checks
else
	for _, kind in ipairs({ "bare", "full", "host" }) do
		module:hook("pre-message/" .. kind, on_message, -100); -- after other modules have changed or refused it
	end
	for _, kind in ipairs({ "bare", "full" }) do
		module:hook("message/" .. kind, on_message_from_afar, 1000); -- before it is stored or copied
	end
end
