// The chat page: one person's client over WebSocket (RFC 7118), by JsSIP. What is said are SIP MESSAGEs (RFC 3428).
import JsSIP from "jssip";

// With each MESSAGE, and with the answer to one: whether it is in the archive ("yes" or "no"). From the edge.
const ARCHIVED = "LCS-Archived";

const NOT_DELIVERED = {
  403: "you may not write there",
  408: "no answer",
  480: "not here now",
  503: "it must be archived and can't be now, try again",
};

const find = (id) => document.getElementById(id);

/** Messages by the other's address; each: text, whether mine, archived ("yes", "no" or none), why it failed. */
const conversations = new Map();
const unread = new Set();
let agent = null;
let me = "";
let open = "";

function canonical(address) {
  return address.trim().toLowerCase().replace(/^sips?:/, "");
}

function logIn(address, password) {
  me = canonical(address);
  const scheme = location.protocol === "https:" ? "wss" : "ws";
  const mine = new JsSIP.UA({
    sockets: [new JsSIP.WebSocketInterface(`${scheme}://${location.host}`)],
    uri: `sip:${me}`,
    password,
    register_expires: 600,
    user_agent: "LCS Archive chat page",
  });
  agent = mine;
  mine.on("registered", () => showChat());
  mine.on("registrationFailed", ({ response }) => {
    if (agent === mine && response) logOut(`Not logged in: ${response.status_code} ${response.reason_phrase}`);
  });
  mine.on("disconnected", () => {
    if (agent !== mine) return;
    find("connection").textContent = "not connected, trying again";
    find("trouble").textContent = "The edge can't be reached, trying again";
  });
  mine.on("newMessage", ({ originator, request }) => {
    if (originator === "remote") take(request);
  });
  mine.start();
}

function take(request) {
  const type = request.getHeader("Content-Type") || "text/plain";
  if (!/^text\//i.test(type)) return; // typing notices and the like
  const peer = canonical(`${request.from.uri.user}@${request.from.uri.host}`);
  add(peer, { text: request.body || "", mine: false, archived: request.getHeader(ARCHIVED) });
  if (peer !== open) unread.add(peer);
  show();
}

function say(peer, text) {
  const message = { text, mine: true, pending: true };
  add(peer, message);
  const end = (changes) => {
    Object.assign(message, { pending: false }, changes);
    show();
  };
  agent.sendMessage(`sip:${peer}`, text, {
    contentType: "text/plain;charset=UTF-8",
    eventHandlers: {
      succeeded: ({ response }) => end({ archived: response.getHeader(ARCHIVED) }),
      failed: ({ response, cause }) =>
        end({ failed: NOT_DELIVERED[response?.status_code] || response?.reason_phrase || cause }),
    },
  });
  show();
}

function add(peer, message) {
  if (!conversations.has(peer)) conversations.set(peer, []);
  conversations.get(peer).push(message);
  if (!open) open = peer;
}

function fateOf({ pending, failed, archived }) {
  if (pending) return "sending…";
  if (failed) return `not delivered: ${failed}`;
  return { yes: "archived", no: "not archived" }[archived] || "";
}

/** Whether a conversation is archived is what its last message tells. */
function summaryOf(messages) {
  const last = messages.findLast(({ archived }) => archived);
  if (!last) return "";
  return last.archived === "yes" ? "This conversation is archived" : "This conversation is not archived";
}

function element(name, className, text) {
  const made = document.createElement(name);
  made.className = className;
  made.textContent = text;
  return made;
}

function show() {
  const people = [...conversations.keys()].map((peer) => {
    const item = document.createElement("li");
    const button = element("button", unread.has(peer) ? "unread" : "", peer);
    button.type = "button";
    if (peer === open) button.setAttribute("aria-current", "true");
    button.addEventListener("click", () => turnTo(peer));
    item.append(button);
    return item;
  });
  find("people").replaceChildren(...people);
  find("conversation").hidden = !open;
  if (!open) return;
  const messages = conversations.get(open);
  find("peer").textContent = open;
  find("archived").textContent = summaryOf(messages);
  find("archived").className = summaryOf(messages) === "This conversation is archived" ? "yes" : "";
  find("messages").replaceChildren(
    ...messages.map((message) => {
      const state = message.failed ? "failed" : message.archived || "";
      const item = element("li", `${message.mine ? "mine" : "theirs"} ${state}`, "");
      item.append(element("span", "text", message.text), element("span", "fate", fateOf(message)));
      return item;
    }),
  );
  find("messages").lastElementChild?.scrollIntoView();
}

function turnTo(peer) {
  if (!conversations.has(peer)) conversations.set(peer, []);
  open = peer;
  unread.delete(peer);
  show();
  find("say").elements.text.focus();
}

function showChat() {
  find("login").hidden = true;
  document.querySelector("main").hidden = false;
  find("me").textContent = me;
  find("connection").textContent = "connected";
  show();
}

function logOut(why) {
  const left = agent;
  agent = null;
  left?.stop();
  conversations.clear();
  unread.clear();
  open = "";
  find("login").hidden = false;
  document.querySelector("main").hidden = true;
  find("trouble").textContent = why;
}

find("login").addEventListener("submit", (event) => {
  event.preventDefault();
  const { address, password } = event.target.elements;
  logOut("");
  try {
    logIn(address.value, password.value);
  } catch {
    find("trouble").textContent = "Write the address as name@domain";
  }
  password.value = "";
});

find("open").addEventListener("submit", (event) => {
  event.preventDefault();
  const { peer } = event.target.elements;
  turnTo(canonical(peer.value));
  peer.value = "";
});

find("say").addEventListener("submit", (event) => {
  event.preventDefault();
  const { text } = event.target.elements;
  say(open, text.value);
  text.value = "";
});

find("leave").addEventListener("click", () => logOut(""));
