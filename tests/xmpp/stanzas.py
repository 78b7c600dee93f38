"""Stanzas as somebody might make them who wants to say something unseen."""

from typing import Final, NamedTuple
from xml.sax.saxutils import escape, quoteattr

from hypothesis import strategies as st

WORD: Final = "WORD"
"""Stands in a stanza where something is said."""

_CHAT, _MUC_USER = "http://jabber.org/protocol/chatstates", "http://jabber.org/protocol/muc#user"
_ELEMENTS: Final = (
    *(("", name) for name in ("body", "subject", "thread", "error", "status", "show", "priority", "x")),
    *((_CHAT, name) for name in ("active", "composing", "gone", "unknown")),
    *(("urn:xmpp:receipts", name) for name in ("request", "received")),
    *(("urn:xmpp:chat-markers:0", name) for name in ("markable", "displayed")),
    *(("urn:xmpp:sid:0", name) for name in ("origin-id", "stanza-id")),
    *((_MUC_USER, name) for name in ("x", "item", "status", "invite", "decline", "reason", "actor")),
    *(("http://jabber.org/protocol/muc", name) for name in ("x", "history", "password")),
    *(("http://jabber.org/protocol/disco#info", name) for name in ("query", "identity", "feature")),
    *(("http://jabber.org/protocol/muc#admin", name) for name in ("query", "item", "reason")),
    *(("http://jabber.org/protocol/xhtml-im", name) for name in ("html", "body")),
    *(("urn:ietf:params:xml:ns:xmpp-stanzas", name) for name in ("gone", "text", "not-acceptable")),
    *(("jabber:x:data", name) for name in ("x", "field", "value")),
    *(("vcard-temp:x:update", name) for name in ("x", "photo")),
    ("http://jabber.org/protocol/caps", "c"),
    ("http://jabber.org/protocol/nick", "nick"),
    ("jabber:client", "body"),
    ("jabber:iq:last", "query"),
    ("jabber:iq:version", "query"),
    ("jabber:x:conference", "x"),
    ("jabber:x:oob", "x"),
    ("urn:example", "unknown"),
    ("urn:example:WORD", "WORD"),
    ("urn:xmpp:carbons:2", "private"),
    ("urn:xmpp:delay", "delay"),
    ("urn:xmpp:forward:0", "forwarded"),
    ("urn:xmpp:hints", "no-store"),
    ("urn:xmpp:idle:1", "idle"),
    ("urn:xmpp:jingle:1", "jingle"),
    ("urn:xmpp:message-correct:0", "replace"),
    ("urn:xmpp:occupant-id:0", "occupant-id"),
    ("urn:xmpp:ping", "ping"),
    ("urn:xmpp:reactions:0", "reaction"),
)
_NAMES: Final = (
    *("id", "by", "from", "to", "stamp", "node", "ver", "hash", "jid", "nick", "affiliation", "role", "code"),
    *(
        "type",
        "reason",
        "var",
        "category",
        "seconds",
        "since",
        "parent",
        "xml:lang",
        "sid",
        "action",
        "unknown",
    ),
)
_SAID: Final = st.sampled_from([WORD, f"so {WORD} it is", f"{WORD}-9", f"\n\t{WORD}", f"en-{WORD}"])
_VALUES: Final = st.one_of(
    _SAID,
    st.sampled_from(["0f2d-41", "1", "en", "set", "submit", "none", "sha-1", "2026-01-01T00:00:00Z", ""]),
)
_TEXTS: Final = st.one_of(st.just(""), _SAID, st.sampled_from([" ", "away", "5"]))
_ATTRIBUTES: Final = st.dictionaries(st.sampled_from(_NAMES), _VALUES, max_size=3)


class Stanza(NamedTuple):
    """A stanza without its addresses, as XML."""

    name: str
    attributes: dict[str, str]
    content: str
    """With ``WORD`` in it, or in an attribute, if anything is said."""


def _element(element: tuple[str, str], attributes: dict[str, str], content: str) -> str:
    namespace, name = element
    written = f" xmlns={quoteattr(namespace)}" if namespace else ""
    written += ' xmlns:q="urn:example:q"' if "q:unknown" in attributes else ""
    written += "".join(f" {key}={quoteattr(value)}" for key, value in attributes.items())
    return f"<{name}{written}>{content}</{name}>"


_elements = st.recursive(
    st.builds(_element, st.sampled_from(_ELEMENTS), _ATTRIBUTES, _TEXTS.map(escape)),
    lambda inner: st.builds(
        _element, st.sampled_from(_ELEMENTS), _ATTRIBUTES, st.lists(inner, max_size=2).map("".join)
    ),
    max_leaves=3,
)
_contents = st.builds(
    lambda elements, text: "".join(elements) + escape(text),
    st.lists(_elements, min_size=1, max_size=3),
    _TEXTS,
)
_TYPES: Final = {
    "message": ("chat", "normal", "groupchat", "headline", "error", WORD),
    "presence": ("", "unavailable", "error"),
    "iq": ("get", "set", "result", "error"),
}


def _stanzas_of(name: str) -> st.SearchStrategy[Stanza]:
    contents = _elements if name == "iq" else _contents
    ids = st.sampled_from(["0f2d-41", WORD]) if name == "iq" else st.sampled_from(["", "0f2d-41", WORD])
    attributes = st.builds(
        lambda more, kind, own_id: (
            more | ({"type": kind} if kind else {}) | ({"id": own_id} if own_id else {})
        ),
        st.dictionaries(st.sampled_from(["xml:lang", "unknown"]), _VALUES, max_size=1),
        st.sampled_from(_TYPES[name]),
        ids,
    )
    return st.builds(Stanza, st.just(name), attributes, contents)


stanzas = st.one_of(
    _stanzas_of("message"), _stanzas_of("message"), _stanzas_of("presence"), _stanzas_of("iq")
)
