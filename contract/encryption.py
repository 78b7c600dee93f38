"""Kinds of end-to-end encryption that the archive tells apart."""

from typing import Literal

EncryptionKind = Literal[
    "esession", "jose", "megolm", "mls", "olm", "omemo", "openpgp", "otr", "rpmsg", "s/mime", "xmlenc"
]
