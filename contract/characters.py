"""Characters of names: which spellings are one name, and which characters a name may not have."""

import unicodedata
from typing import Final

_UNSEEN_CATEGORIES: Final = frozenset(("Cc", "Cf", "Cn", "Co", "Cs", "Zl", "Zp", "Zs"))
"""Controls, formats (bidirectional, joiners), unassigned, private, surrogates, separators (UAX 44, 5.7.1)."""
_UNSEEN: Final = frozenset(
    chr(code)
    for first, last in (
        # The rest of Default_Ignorable_Code_Point (UAX 44, 5.1):
        *((0x034F, 0x034F), (0x115F, 0x1160), (0x17B4, 0x17B5), (0x180B, 0x180F), (0x3164, 0x3164)),
        *((0xFE00, 0xFE0F), (0xFFA0, 0xFFA0), (0xE0100, 0xE01EF)),
        # Blanks that Unicode counts as symbols, letters or marks:
        *((0x2800, 0x2800), (0x16FE4, 0x16FE4), (0x1D159, 0x1D159)),
        # They stand for something that was lost:
        (0xFFFC, 0xFFFD),
    )
    for code in range(first, last + 1)
)


class CharacterError(ValueError):
    """A character that a name may not have; the text names it."""


def fold(name: str) -> str:
    """Return a name with all its spellings made one: Unicode's NFKC_Casefold, but nothing is removed.

    It is stable: folding again changes nothing, and a newer Unicode changes nothing of assigned characters.
    """
    while (folded := unicodedata.normalize("NFKC", name.casefold())) != name:
        name = folded
    return name


def is_unseen(char: str) -> bool:
    """Return True if a character is invisible, or stands for one that was lost. A space is visible."""
    return char != " " and (unicodedata.category(char) in _UNSEEN_CATEGORIES or char in _UNSEEN)


def check_visible(name: str, allowed: str = "") -> None:
    """Raise CharacterError if a folded name has an invisible character other than those ``allowed``."""
    for char in name:
        if is_unseen(char) and char not in allowed:
            title = unicodedata.name(char, "a character without a name")
            raise CharacterError(f"it has U+{ord(char):04X} ({title}), which nobody sees: leave it out")
