"""End-to-end encryption: it cannot be read, but its kind can be told."""

import re
from collections.abc import Mapping, Sequence
from typing import Final

from contract.encryption import EncryptionKind

PGP: Final = "openpgp"
SMIME: Final = "s/mime"

_KINDS: Final[Mapping[str, EncryptionKind]] = {
    "application/pkcs7-mime": SMIME,  # RFC 8551
    "application/x-pkcs7-mime": SMIME,
    "application/cms": SMIME,  # RFC 7193
    "application/pgp": PGP,
    "application/pgp-encrypted": PGP,  # RFC 3156
    "application/x-pgp-message": PGP,
    "message/mls": "mls",  # RFC 9420
    "application/mls": "mls",
    "application/jose": "jose",  # RFC 7515, RFC 7516
    "application/jose+json": "jose",
    "application/x-microsoft-rpmsg-message": "rpmsg",  # Microsoft's rights management, [MS-OXORMMS]
}
_FILES: Final[Mapping[str, EncryptionKind]] = {".p7m": SMIME, ".pgp": PGP, ".gpg": PGP, ".rpmsg": "rpmsg"}
_NAMESPACES: Final[Sequence[tuple[str, EncryptionKind]]] = (
    ("urn:xmpp:omemo:", "omemo"),  # XEP-0384
    ("eu.siacs.conversations.axolotl", "omemo"),  # its version 0.3
    ("urn:xmpp:openpgp:", PGP),  # XEP-0373
    ("jabber:x:encrypted", PGP),  # XEP-0027
    ("urn:xmpp:otr:", "otr"),  # XEP-0364
    ("urn:xmpp:mls:", "mls"),
    ("urn:ietf:params:xml:ns:xmpp-e2e", SMIME),  # RFC 3923
    ("http://www.xmpp.org/extensions/xep-0200.html#ns", "esession"),  # XEP-0200
    ("http://www.w3.org/2001/04/xmlenc#", "xmlenc"),
)
_ALGORITHMS: Final[Mapping[str, EncryptionKind]] = {"m.megolm.": "megolm", "m.olm.": "olm"}
"""Matrix's (its specification, "End-to-End Encryption")."""

_ARMOR: Final = re.compile(
    r"-----BEGIN PGP (MESSAGE|SIGNATURE)[^\n-]{0,40}-----[ \t\r]*+\n"
    r"(?:(?:Version|Hash|Charset|MessageID): [^\n]{0,200}\n)*+((?:Comment: [^\n]{0,200}\n)*+)"
    r"[A-Za-z0-9+/=\s]*+-----END PGP (?:MESSAGE|SIGNATURE)[^\n-]{0,40}-----"
)
"""RFC 9580, 6.2. A comment in it is readable."""
_OTR: Final = re.compile(
    r"\?OTR(?::AA[EIMQ][A-Za-z0-9+/=]*+\.?"
    r"|(?:\|[0-9a-fA-F]{1,8}\|[0-9a-fA-F]{1,8})?,[0-9]{1,5},[0-9]{1,5},[A-Za-z0-9+/=?:.]*+,)"
)
"""Off-the-Record Messaging Protocol, versions 1 to 4: "Encoded messages", and a piece of one."""
_LONGEST_WORD: Final = 512
_LETTERS: Final = re.compile(r"(?:[A-Za-z0-9+/_-]{16,}=*\s*)++")


def kind_of_media(kind: str, file_name: str) -> EncryptionKind | None:
    """Return the kind of encryption of a media type or file name, None if it has none."""
    if not file_name:
        return _KINDS.get(kind)
    return _KINDS.get(kind) or next(
        (encryption for ending, encryption in _FILES.items() if file_name.lower().endswith(ending)), None
    )


def kind_of_namespace(namespace: str) -> EncryptionKind | None:
    """Return the kind of encryption of an XML namespace, None if it is of none."""
    return next((kind for prefix, kind in _NAMESPACES if namespace.startswith(prefix)), None)


def kind_of_algorithm(name: str) -> EncryptionKind | None:
    """Return the kind of encryption that Matrix names, None if it names none."""
    return next((kind for prefix, kind in _ALGORITHMS.items() if name.startswith(prefix)), None)


def is_unreadable(text: str) -> bool:
    """Return whether a text is bytes in base64, a picture say: more letters than any word has."""
    return len(text) >= _LONGEST_WORD and is_ciphertext(text)


def is_ciphertext(text: str) -> bool:
    """Return whether a text is nothing but letters of base64."""
    return _LETTERS.fullmatch(text.strip()) is not None


def strip_encrypted(text: str) -> tuple[str, str | None]:
    """Return the readable part of a text, and the kind of encryption of the rest."""
    if "?OTR" in text:
        rest, count = _OTR.subn("", text)
        if count:
            return rest, "otr"
    if "-----BEGIN PGP " not in text:
        return text, None
    kind = PGP if "-----BEGIN PGP MESSAGE" in text else None
    return _ARMOR.sub(r"\2", text), kind
