"""Everybody can speak, whatever he is called."""

import asyncio

import pytest

from tests.xmpp.archive import Archive
from tests.xmpp.server import Prosody

pytestmark = pytest.mark.containers


@pytest.mark.parametrize(
    ("name", "archived"),
    [
        ("yannis@bücher.example", "yannis{}@xn--bcher-kva.example"),
        ("bob@müller.example", "bob{}@xn--mller-kva.example"),
        (r"d\27artagnan", "d'artagnan{}@contoso.com"),
        (r"d\27artagnan@müller.example", "d'artagnan{}@xn--mller-kva.example"),
        ("50%20off", "50%2520off{}@contoso.com"),
        ("josé", "josé{}@contoso.com"),
        ("Ἀνδρέας@litware.com", "ἀνδρέασ{}@litware.com"),
        ("@bot.litware.com", "bot.litware.com"),
    ],
)
def test_people_of_any_name_speak_and_are_spoken_to(
    archive: Archive, prosody: Prosody, name: str, archived: str
) -> None:
    async def talk() -> None:
        async with prosody.people(name, "ada") as (one, ada):
            one.say(ada.boundjid.bare, "Hello")
            assert (await ada.next())["body"] == "Hello"
            ada.say(one.boundjid.full, "Welcome")
            assert (await one.next())["body"] == "Welcome"
            user = str(one.boundjid.user)
            address = f"sip:{archived.format(user[user.rfind('-') :])}"
            ims = await asyncio.to_thread(archive.of, ada, 2)
            assert [(im["sender"], im["recipients"], im["body"]) for im in ims] == [
                (address, [f"sip:{ada.boundjid.bare}"], "Hello"),
                (f"sip:{ada.boundjid.bare}", [address], "Welcome"),
            ]
            assert ims == await asyncio.to_thread(archive.of, one, 2)

    asyncio.run(talk())
