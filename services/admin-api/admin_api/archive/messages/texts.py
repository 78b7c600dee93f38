"""Texts as people search for them: all ways of writing one text are found by any of them.

A telephone writes another apostrophe than a keyboard, a Mac an accent as a character of its own, HTML a no-
break space, Word an invisible hyphen (docs/decisions/0020).
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
"""Ranges of characters that searches ignore: soft hyphens, joiners, directional marks, emoji variants."""
_FROM: Final = "".join(_ALIKE.values())
_TO: Final = "".join(char * len(others) for char, others in _ALIKE.items())
_TABLE: Final = str.maketrans(_FROM, _TO)
_REMOVED: Final = re.compile(f"[{_UNSEEN}]")
_LAST: Final = 0x2FA1F
"""The last character that has a compatibility form."""


def fold_text(text: str) -> str:
    """Return a text in its folded form; upper and lower case stay."""
    return _REMOVED.sub("", unicodedata.normalize("NFKC", text).translate(_TABLE))


def spellings_of(text: str) -> list[str]:
    """Return a text, and its folded form if that differs and is not empty."""
    return [text, *({fold_text(text)} - {text, ""})]


def contains(body: SQLColumnExpression[str | None], text: str) -> ColumnElement[bool]:
    """Return the condition that a body contains a text, however both are written, in upper or lower case.

    Only a body with other characters for those of the text is folded: folding takes ten times as long as a
    look.
    """
    found = [body.icontains(each, autoescape=True) for each in spellings_of(text)]
    if folded := fold_text(text):
        has_others = and_(func.octet_length(body) > func.length(body), body.regexp_match(others_of(folded)))
        one_way = func.translate(func.normalize(body, literal_column("NFKC")), _FROM, _TO)
        one_way = func.regexp_replace(one_way, f"[{_UNSEEN}]+", "", "g")
        found.append(and_(has_others, one_way.icontains(folded, autoescape=True)))
    return or_(*found)


def others_of(folded: str) -> str:
    """Return the regular expression for a character that occurs only in other ways to write a folded text."""
    known = set(folded.casefold())
    forms = _forms()
    others = [char for char, fold in forms.items() if not known.isdisjoint(fold.casefold())]
    # Joined to a letter they make one that is not ASCII.
    marks = "" if folded.isascii() else "".join(_marks())
    return f"[{_UNSEEN}{''.join(others)}{marks}]"


@cache
def _forms() -> Mapping[str, str]:
    """Return the characters that folding replaces, with their replacements."""
    chars = map(chr, range(0x80, _LAST + 1))
    return {char: fold for char in chars if (fold := fold_text(char)) not in (char, "")}


@cache
def _marks() -> Sequence[str]:
    """Return the combining characters, and those that folding makes of such."""
    chars = [chr(code) for code in range(0x80, _LAST + 1)]
    marks = {mark for char in chars for mark in unicodedata.normalize("NFD", char)[1:]}
    marks.update(filter(unicodedata.combining, chars))
    return sorted(marks.union(char for char, fold in _forms().items() if fold[0] in marks))
