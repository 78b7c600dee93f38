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

-- What is said in a stanza, in each of its languages; nil for typing notices, receipts, markers. The namespace doesn't count:
-- one that is foreign here may be that in which the recipient's client reads.
local function text_of(stanza)
	local texts = {};
	for _, tag in ipairs(stanza.tags) do
		if tag.name == "body" then
			texts[#texts + 1] = tag:get_text() or tostring(tag); -- with tags inside it has no text of its own
		end
	end
	return texts[1] and table.concat(texts, "\n");
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

-- Returns nil if what a message says may be delivered, else the error to tell its sender.
local function refusal_of(event, sender, recipients)
	local text = text_of(event.stanza);
	if not text then
		return nil;
	end
	local deliver, type, condition = ask({ sender = jid.bare(sender); recipients = recipients; body = text; });
	look_for_read_ahead(event.origin);
	if not deliver then
		local words = "This message could not be archived, so it was not delivered.";
		return st.error_reply(event.incoming or event.stanza, type, condition, words);
	end
end

-- Returns true, which ends the way of the stanza, unless it may be delivered.
local function archive(event, sender, recipients)
	local refusal = refusal_of(event, sender, recipients);
	if refusal then
		if event.origin.send then -- a component that has gone meanwhile can't be told
			event.origin.send(refusal);
		end
		return true;
	end
end

-- What is said in a room of ours, or by way of it, is asked about there: there it is known who hears it. A room elsewhere
-- sends it to those of ours who are in it: then it is asked about.
local function is_asked_about_later(stanza, to)
	local host = prosody.hosts[jid.host(to)];
	if host then
		return host.modules.muc and host.modules[module.name];
	end
	return stanza.attr.type == "groupchat" and not jid.resource(to);
end

local function on_message(event)
	local stanza = event.stanza;
	local to = stanza.attr.to or stanza.attr.from;
	if stanza.attr.type == "error" then -- it may repeat what was said, but nobody may say something by it
		stanza:maptags(function (tag) return tag.name ~= "body" and tag or nil; end);
	elseif not is_asked_about_later(stanza, to) then
		return archive(event, stanza.attr.from, { jid.bare(to) });
	end
end

-- Where an external component is read nothing may wait (mod_component), so its messages go on in a thread, in their order.
local function go_on_in_thread(origin, stanza)
	origin.thread = origin.thread or async.runner(function (each) prosody.core_process_stanza(origin, each); end, {
		waiting = function () origin.conn:pause(); end;
		ready = function () if origin.conn then origin.conn:resume(); end end;
		error = function (_, err) module:log("error", "not delivered: %s", err); end;
	});
	origin.thread:run(stanza);
end

-- From another server or an external component: nothing is fired before ("pre-message") for what these send.
local function on_message_from_afar(event)
	local origin = event.origin;
	local is_component = origin.type == "component" and origin.conn; -- components of Prosody's own have no connection
	if is_component and not async.ready() then
		go_on_in_thread(origin, event.stanza);
		return true;
	elseif is_component or origin.type == "s2sin" or origin.type == "s2sout" then -- with mod_s2s_bidi both ways
		return on_message(event);
	end
end

local function on_stanza_to_afar(event)
	if event.stanza.name == "message" and event.origin and event.origin.type == "component" then
		return on_message_from_afar(event);
	end
end

local function on_message_in_room(event)
	local sender, recipients, seen = jid.bare(event.stanza.attr.from), {}, {};
	seen[sender] = true;
	for _, occupant in event.room:each_occupant() do
		if not seen[occupant.bare_jid] then
			seen[occupant.bare_jid] = true;
			recipients[#recipients + 1] = occupant.bare_jid;
		end
	end
	if #recipients > 0 then -- who talks to himself in an empty room tells nobody
		return archive(event, sender, recipients);
	end
end

local function on_private_message(event)
	local room, stanza = event.room, event.stanza; -- here both go by their names in the room
	local sender, recipient = room:get_occupant_by_nick(stanza.attr.from), room:get_occupant_by_nick(stanza.attr.to);
	local refusal = refusal_of(event, sender.bare_jid, { recipient.bare_jid });
	if refusal then
		room:route_to_occupant(sender, refusal);
		return false; -- here this ends its way
	end
end

-- A room passes on an invitation, and that it is declined, with what is said to it.
local function on_invitation(event)
	return archive(event, event.incoming.attr.from, { jid.bare(event.stanza.attr.to) });
end

for _, kind in ipairs({ "bare", "full", "host" }) do
	module:hook("pre-message/" .. kind, on_message, -100); -- after other modules have changed or refused it
	module:hook("message/" .. kind, on_message_from_afar, 1000); -- before it is stored or copied
end
module:hook("route/remote", on_stanza_to_afar, 1000);
-- After a room's own checks:
module:hook("muc-occupant-groupchat", on_message_in_room, -100);
module:hook("muc-private-message", on_private_message, -100);
module:hook("muc-invite", on_invitation, -100);
module:hook("muc-decline", on_invitation, -100);
