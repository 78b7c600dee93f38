"""People who talk over XMPP: real clients, and an external component."""

import asyncio
import uuid
from typing import Any, Final, Literal
from xml.sax.saxutils import quoteattr

import slixmpp

SECONDS: Final = 30
COMPONENT_SECRET: Final = "between us"


class Person(slixmpp.BaseXMPP):
    """Somebody who talks; what it is told is in ``told``."""

    def listen(self) -> None:
        """Note what it is told, and in ``heard`` each stanza that comes, as XML."""
        self.register_plugin("xep_0045")
        self.register_plugin("xep_0085")
        self.register_plugin("xep_0280")
        self.told: asyncio.Queue[Any] = asyncio.Queue()
        for event in ("message", "message_error", "chatstate_composing"):
            self.add_event_handler(event, self.told.put_nowait)
        self.heard: asyncio.Queue[str] = asyncio.Queue()
        self.add_filter("in", self._note)
        self.add_event_handler("stream_error", self._note)

    def _note(self, stanza: Any) -> Any:
        self.heard.put_nowait(str(stanza))
        return stanza

    def say(self, to: str, text: str, kind: Literal["chat", "groupchat"] = "chat") -> None:
        """Send a message."""
        self.send_message(slixmpp.JID(to), text, mtype=kind, mfrom=self.boundjid)

    def say_in_xml(self, to: str, content: str, kind: str = "chat") -> None:
        """Send a message of this XML."""
        self.send_stanza("message", to, content, type=kind)

    def send_stanza(self, name: str, to: str, content: str, **attributes: str) -> None:
        """Send a stanza of this XML."""
        attributes = {"from": str(self.boundjid), "to": to} | attributes
        written = "".join(f" {name}={quoteattr(value)}" for name, value in attributes.items())
        self.send_raw(f"<{name}{written}>{content}</{name}>")

    async def hear_all(self, last: str) -> str:
        """Return all stanzas that come, up to one with these words."""
        heard = [await self.hear_next()]
        while last not in heard[-1]:
            heard.append(await self.hear_next())
        return "\n".join(heard)

    async def hear_next(self) -> str:
        """Return the next stanza that comes, as XML."""
        return await asyncio.wait_for(self.heard.get(), SECONDS)

    async def next(self) -> Any:
        """Return the next stanza that it is told."""
        return await asyncio.wait_for(self.told.get(), SECONDS)

    async def hear(self, text: str) -> Any:
        """Return the stanza with this text; what comes before is left out."""
        while (told := await self.next())["body"] != text:
            pass
        return told

    async def join(self, room: str, *, history: bool = False) -> None:
        """Enter a room, where its name is its user's name."""
        await self.plugin["xep_0045"].join_muc_wait(
            slixmpp.JID(room),
            str(self.boundjid.user),
            maxstanzas=20 if history else 0,
            presence_options={"pfrom": self.boundjid},
            timeout=SECONDS,
        )


class Client(Person, slixmpp.ClientXMPP):
    """Somebody's client."""

    def __init__(self, address: str, password: str) -> None:
        super().__init__(f"{address}/one", password)
        self.enable_plaintext, self.enable_starttls, self.enable_direct_tls = True, False, False
        self.plugin["feature_mechanisms"].unencrypted_plain = True
        self.listen()


class Component(Person, slixmpp.ComponentXMPP):
    """An external component (XEP-0114), with somebody in it."""

    def __init__(self, address: str) -> None:
        super().__init__(slixmpp.JID(address).domain, COMPONENT_SECRET)  # type: ignore[no-untyped-call]  # it has no types
        self.boundjid = slixmpp.JID(f"{address}/one")
        self.listen()


async def meet(*people: Person) -> str:
    """Return a new room, once these people are in it."""
    room = f"room-{uuid.uuid4().hex[:8]}@rooms.contoso.com"
    for one in people:
        await one.join(room)
    return room
