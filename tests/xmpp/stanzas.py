"""Stanzas as somebody might make them who wants to say something unseen."""

from collections.abc import Sequence
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


class Element(NamedTuple):
    """An element; of a stanza itself the namespace is left out."""

    namespace: str
    name: str
    attributes: dict[str, str] = {}  # noqa: RUF012  # nobody changes it
    inside: Sequence["Element | str"] = ()

    def content(self) -> str:
        """Return what is in it, as XML."""
        return "".join(escape(each) if isinstance(each, str) else each.xml() for each in self.inside)

    def xml(self) -> str:
        """Return it as XML."""
        attributes = {"xmlns": self.namespace} if self.namespace else {}
        if "q:unknown" in self.attributes:
            attributes["xmlns:q"] = "urn:example:q"
        written = "".join(
            f" {key}={quoteattr(value)}" for key, value in (attributes | self.attributes).items()
        )
        return f"<{self.name}{written}>{self.content()}</{self.name}>"


class Stanza(NamedTuple):
    """A stanza without its addresses, as XML."""

    name: str
    attributes: dict[str, str]
    content: str
    """With ``WORD`` in it, or in an attribute, if anything is said."""


_elements = st.recursive(
    st.builds(
        lambda element, attributes, text: Element(element[0], element[1], attributes, (text,)),
        st.sampled_from(_ELEMENTS),
        _ATTRIBUTES,
        _TEXTS,
    ),
    lambda inner: st.builds(
        lambda element, attributes, inside: Element(element[0], element[1], attributes, inside),
        st.sampled_from(_ELEMENTS),
        _ATTRIBUTES,
        st.lists(inner, max_size=2),
    ),
    max_leaves=3,
)
_TYPES: Final = {
    "message": ("chat", "normal", "groupchat", "headline", "error", WORD),
    "presence": ("", "unavailable", "error"),
    "iq": ("get", "set", "result", "error"),
}


@st.composite
def _wild(draw: st.DrawFn, name: str) -> Element:
    """A stanza of anything."""
    kind = draw(st.sampled_from(_TYPES[name]))
    own_id = draw(st.sampled_from(["0f2d-41", WORD] if name == "iq" else ["", "0f2d-41", WORD]))
    attributes = draw(st.dictionaries(st.sampled_from(["xml:lang", "unknown"]), _VALUES, max_size=1))
    attributes |= ({"type": kind} if kind else {}) | ({"id": own_id} if own_id else {})
    inside: list[Element | str] = list(
        draw(st.lists(_elements, min_size=1, max_size=1 if name == "iq" else 3))
    )
    return Element("", name, attributes, [*inside, draw(_TEXTS)])


_ID: Final = {"id": "0f2d-41"}
_ERROR: Final = Element(
    "", "error", {"type": "cancel"}, [Element("urn:ietf:params:xml:ns:xmpp-stanzas", "not-acceptable")]
)
_CAPS: Final = {"hash": "sha-1", "node": "https://example.com", "ver": "bJFx3/cxee6GccCod1LAn/0AoN4="}
_DELAY: Final = Element("urn:xmpp:delay", "delay", {"stamp": "2026-01-01T00:00:00Z"})
_DISCO: Final = "http://jabber.org/protocol/disco#info"
_EMPTY: Final = {
    "message": (
        *(Element(_CHAT, state) for state in ("active", "composing", "paused", "inactive", "gone")),
        Element("urn:xmpp:receipts", "request"),
        Element("urn:xmpp:receipts", "received", _ID),
        Element("urn:xmpp:chat-markers:0", "markable"),
        Element("urn:xmpp:chat-markers:0", "displayed", _ID),
        Element("urn:xmpp:hints", "no-store"),
        Element("urn:xmpp:sid:0", "origin-id", _ID),
        Element("urn:xmpp:occupant-id:0", "occupant-id", _ID),
        Element("", "thread", {}, ["0f2d"]),
        Element("", "body", {}, ["Hello"]),
        Element("", "subject"),
        Element(_MUC_USER, "x", {}, [Element(_MUC_USER, "status", {"code": "100"})]),
        _DELAY,
    ),
    "presence": (
        Element("", "show", {}, ["away"]),
        Element("", "priority", {}, ["5"]),
        Element("http://jabber.org/protocol/caps", "c", _CAPS),
        Element("vcard-temp:x:update", "x", {}, [Element("vcard-temp:x:update", "photo")]),
        Element("urn:xmpp:idle:1", "idle", {"since": "2026-01-01T00:00:00Z"}),
        Element(_MUC_USER, "x", {}, [Element(_MUC_USER, "item", {"role": "none"})]),
        _DELAY,
    ),
    "iq": (
        Element("urn:xmpp:ping", "ping"),
        Element("urn:xmpp:time", "time"),
        Element("jabber:iq:version", "query"),
        Element("jabber:iq:last", "query", {"seconds": "5"}),
        Element("vcard-temp", "vCard"),
        Element(_DISCO, "query", {"node": "0f2d"}, [Element(_DISCO, "feature", {"var": "urn:xmpp:ping"})]),
    ),
}


_LIKELY: Final = {
    "message": ("chat", "groupchat"),
    "presence": ("", "unavailable"),
    "iq": ("get", "set", "result"),
}


@st.composite
def _nearly_empty(draw: st.DrawFn, name: str) -> Element:
    """A stanza that would be empty, were there not a word at one place."""
    most = 1 if name == "iq" else 2
    inside = draw(
        st.one_of(st.lists(st.sampled_from(_EMPTY[name]), min_size=1, max_size=most), st.just([_ERROR]))
    )
    kind = "error" if _ERROR in inside else draw(st.sampled_from(_LIKELY[name]))
    attributes = ({"type": kind} if kind else {}) | (_ID if name == "iq" else {})
    return _plant(draw, Element("", name, attributes, inside))


def _plant(draw: st.DrawFn, element: Element) -> Element:
    """Return an element with a word in it, or in one of those inside."""
    places = [place for place, each in enumerate(element.inside) if isinstance(each, Element)]
    inside = list(element.inside)
    if places and draw(st.sampled_from([True, True, True, False])):
        place = draw(st.sampled_from(places))
        inner = inside[place]
        assert isinstance(inner, Element)
        inside[place] = _plant(draw, inner)
        return element._replace(inside=inside)
    if draw(st.booleans()):
        own = [key for key in element.attributes if key != "type" or element.namespace]
        name = draw(st.sampled_from([*own, *own, *own, "id", "note", "xml:lang"]))
        return element._replace(attributes=element.attributes | {name: draw(_SAID)})
    said = draw(st.one_of(_SAID, st.just(Element("urn:example", WORD))))
    return element._replace(inside=[*inside, said] if draw(st.booleans()) else [said, *inside])


_all = st.one_of(
    *(_nearly_empty(name) for name in ("message", "message", "presence", "iq")),
    *(_wild(name) for name in ("message", "presence", "iq")),
)
stanzas = _all.map(lambda made: Stanza(made.name, made.attributes, made.content()))
