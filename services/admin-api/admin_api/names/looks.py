"""How an address looks to people: different people may look alike (Unicode UTS 39)."""

from collections.abc import Iterable
from functools import lru_cache
from typing import Final, Self
from urllib.parse import unquote

from confusable_homoglyphs.categories import alias
from confusable_homoglyphs.confusables import confusables_data
from pydantic import BaseModel, Field, model_validator

from admin_api.http.fields import IfAny
from contract.characters import is_unseen
from contract.domain import show_domain

_NO_SCRIPT: Final = frozenset(("COMMON", "INHERITED", "UNKNOWN"))
_WRITTEN_TOGETHER: Final = (
    frozenset(("LATIN", "HAN", "HIRAGANA", "KATAKANA")),
    frozenset(("LATIN", "HAN", "BOPOMOFO")),
    frozenset(("LATIN", "HAN", "HANGUL")),
)
"""Scripts that one text may be written in: UTS 39, 5.2, "highly restrictive"."""


class Look(BaseModel):
    """Properties of an address that its text does not show."""

    address: str
    shown: IfAny[str] = Field(
        None,
        description="As people read it: escapes undone, IDNs in letters, invisible characters by number",
    )
    mixed_scripts: IfAny[list[str]] = Field(
        None, description="Of a name or a part of a domain whose letters are of several scripts"
    )
    looks_like: IfAny[str] = Field(
        None, description="Another person's address in plain letters that most people would read it as"
    )


class Looked(BaseModel):
    """A person, with the look of the address."""

    address: str
    look: IfAny[Look] = None

    @model_validator(mode="after")
    def _look(self) -> Self:
        self.look = look_of(self.address)
        return self


@lru_cache(maxsize=1 << 11)
def look_of(address: str) -> Look | None:
    """Return the look of a canonical address; None if the address shows all there is to know."""
    if address.isascii() and "xn--" not in address:
        return None
    scheme, colon, rest = address.partition(":")
    user, at, domain = rest.rpartition("@")
    domain = show_domain(domain)
    parts = [unquote(user), *domain.split(".")]
    shown = "".join(map(_seen, f"{scheme}{colon}{parts[0]}{at}{domain}"))
    plain = f"{scheme}{colon}{_plain(parts[0])}{at}{_plain(domain)}"
    look = Look(
        address=address,
        shown=shown if shown != address else None,
        mixed_scripts=sorted(set().union(*map(_mixed_scripts, parts))),
        looks_like=plain if plain.isascii() else None,
    )
    return look if look.shown or look.mixed_scripts or look.looks_like else None


def looks_of(addresses: Iterable[str]) -> list[Look]:
    """Return the looks of those addresses that have one."""
    return [look for look in map(look_of, addresses) if look is not None]


def _mixed_scripts(text: str) -> set[str]:
    scripts = {alias(char) for char in text} - _NO_SCRIPT
    if len(scripts) < 2 or any(scripts <= together for together in _WRITTEN_TOGETHER):
        return set()
    return {script.title() for script in scripts}


def _seen(char: str) -> str:
    return f"<U+{ord(char):04X}>" if is_unseen(char) else char


def _plain(text: str) -> str:
    """Return a text with each character that looks like one of ASCII in place of it."""
    return "".join(map(_plain_character, text))


def _plain_character(char: str) -> str:
    alike = [] if char.isascii() else [found["c"] for found in confusables_data.get(char, ())]
    return next((each for each in alike if each.isascii() and each.isalnum()), char)
