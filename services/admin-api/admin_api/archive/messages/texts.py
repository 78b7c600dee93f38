"""Texts as people look for them: however keyboards and clients write one, here it is one text.

A telephone writes another apostrophe than a keyboard, a Mac an accent as a character of its own, HTML a blank
that does not break, Word a hyphen that nobody sees. Whoever looks for the words means them all
(docs/decisions/0020).
"""

import re
import unicodedata
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Final

from sqlalchemy import ColumnElement, SQLColumnExpression, and_, func, literal_column, or_

_ALIKE: Final = {
    "'": "\u2018\u2019\u201a\u201b\u02bc\u02b9\u2032",
    '"': "\u201c\u201d\u201e\u201f\u00ab\u00bb",
    "-": "\u2010\u2012\u2013\u2014\u2015\u2212",
    "\u03c3": "\u03c2",
}
"""Characters and their plain forms: apostrophes, quotation marks, dashes, and sigma at a word's end."""
_UNSEEN: Final = "\u00ad\u061c\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufe0e\ufe0f\ufeff"
"""Ranges of what nobody looks for: hyphens to break at, joiners, marks of direction, variants of emoji."""
_FROM: Final = "".join(_ALIKE.values())
_TO: Final = "".join(char * len(others) for char, others in _ALIKE.items())
_TABLE: Final = str.maketrans(_FROM, _TO)
_REMOVED: Final = re.compile(f"[{_UNSEEN}]")
_LAST: Final = 0x2FA1F
"""The last character that is a form of another."""


def fold_text(text: str) -> str:
    """Return a text in the one way of writing it, but for upper and lower case."""
    return _REMOVED.sub("", unicodedata.normalize("NFKC", text).translate(_TABLE))


def spellings_of(text: str) -> list[str]:
    """Return a text as it is and in the one way of writing it, if that is another and says anything."""
    return [text, *({fold_text(text)} - {text, ""})]


def contains(body: SQLColumnExpression[str | None], text: str) -> ColumnElement[bool]:
    """Return the condition that a text stands in a body, however both are written, in upper or lower case.

    Only a body that has other characters for those of the text is folded: that takes ten times as long as to
    look at it.
    """
    found = [body.icontains(each, autoescape=True) for each in spellings_of(text)]
    if folded := fold_text(text):
        has_others = and_(func.octet_length(body) > func.length(body), body.regexp_match(others_of(folded)))
        one_way = func.translate(func.normalize(body, literal_column("NFKC")), _FROM, _TO)
        one_way = func.regexp_replace(one_way, f"[{_UNSEEN}]+", "", "g")
        found.append(and_(has_others, one_way.icontains(folded, autoescape=True)))
    return or_(*found)


def others_of(folded: str) -> str:
    """Return the expression for a character that may stand in another way of writing a folded text."""
    known = set(folded.casefold())
    forms = _forms()
    others = [char for char, fold in forms.items() if not known.isdisjoint(fold.casefold())]
    # Joined to a letter they make one that is not ASCII.
    marks = "" if folded.isascii() else "".join(_marks())
    return f"[{_UNSEEN}{''.join(others)}{marks}]"


@cache
def _forms() -> Mapping[str, str]:
    """Return what characters become that stand for others."""
    chars = map(chr, range(0x80, _LAST + 1))
    return {char: fold for char in chars if (fold := fold_text(char)) not in (char, "")}


@cache
def _marks() -> Sequence[str]:
    """Return the characters that make another of the one before them, or whose order says nothing."""
    chars = [chr(code) for code in range(0x80, _LAST + 1)]
    marks = {mark for char in chars for mark in unicodedata.normalize("NFD", char)[1:]}
    marks.update(filter(unicodedata.combining, chars))
    return sorted(marks.union(char for char, fold in _forms().items() if fold[0] in marks))
