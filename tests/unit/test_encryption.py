"""What is encrypted is named, and what is readable of it is read."""

import base64
import zlib
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import pkcs7
from hypothesis import given
from hypothesis import strategies as st

from archiving.rendering import render
from archiving.rendering.cms import COMPRESSED
from tests.unit.asn1 import ber, der

PGP = "-----BEGIN PGP MESSAGE-----\nVersion: 2\nComment: ask me\n\nhQEMA1\n=aB1C\n-----END PGP MESSAGE-----"
OMEMO = (
    "<encrypted xmlns='{}'><header sid='1'><key rid='2'>{}</key></header><payload>{}</payload></encrypted>"
)
CIPHER = base64.b64encode(bytes(range(80))).decode()


@pytest.mark.parametrize(
    ("content_type", "content", "encryption", "text"),
    [
        ("text/plain", PGP, "openpgp", "Comment: ask me"),
        ("text/plain", f"before\n{PGP}\nafter", "openpgp", "before\nComment: ask me\n\nafter"),
        ("text/plain", "?OTR:AAMDYSdr5gAB.", "otr", None),
        ("text/plain", "?OTR|5a73a599|27e31597,00001,00003,?OTR:AAMD,", "otr", None),
        ("text/plain", "?OTR,1,2,?OTR:AAEDAAAAAQAA,", "otr", None),
        ("text/plain", "?OTR:sell at noon", None, "?OTR:sell at noon"),
        ("text/plain", "?OTRv23? will you talk OTR?", None, "?OTRv23? will you talk OTR?"),
        (
            "text/plain",
            "-----BEGIN PGP SIGNED MESSAGE-----\n\nhi",
            None,
            "-----BEGIN PGP SIGNED MESSAGE-----\n\nhi",
        ),
        (
            'multipart/encrypted; protocol="application/pgp-encrypted"; boundary=x',
            "--x\nContent-Type: application/pgp-encrypted\n\nVersion: 1\n"
            f"--x\nContent-Type: application/octet-stream\n\n{PGP.replace('Comment: ask me', '')}\n--x--",
            "openpgp",
            None,
        ),
        (
            'multipart/encrypted; protocol="application/pgp-encrypted"; boundary=x',
            "--x\n\nsell at noon\n--x--",
            "openpgp",
            "sell at noon",
        ),
        (
            "application/pkcs7-mime; smime-type=enveloped-data; name=smime.p7m",
            "MIAGCSqGSIb3DQEHA6CAMIACAQA=",
            "s/mime",
            "smime.p7m",
        ),
        ("application/x-pkcs7-mime", CIPHER, "s/mime", None),
        ("application/octet-stream; name=Smime.P7M", CIPHER, "s/mime", "Smime.P7M"),
        (
            "message/cpim",
            "From: <im:a>\r\n\r\nContent-Type: application/pkcs7-mime\r\n"
            f"Content-Transfer-Encoding: base64\r\n\r\n{CIPHER}",
            "s/mime",
            None,
        ),
        (
            "application/xmpp+xml",
            f"<message>{OMEMO.format('eu.siacs.conversations.axolotl', CIPHER, CIPHER)}"
            "<body>You can't read this</body></message>",
            "omemo",
            "You can't read this",
        ),
        (
            "application/xmpp+xml",
            f"<message>{OMEMO.format('urn:xmpp:omemo:2', CIPHER, CIPHER)}</message>",
            "omemo",
            None,
        ),
        (
            "application/xmpp+xml",
            f"<message>{OMEMO.format('urn:xmpp:omemo:1', 'not a key', CIPHER)}</message>",
            "omemo",
            "not a key",
        ),
        (
            "application/xmpp+xml",
            f"<message><openpgp xmlns='urn:xmpp:openpgp:0'>{CIPHER}</openpgp></message>",
            "openpgp",
            None,
        ),
        (
            "application/xmpp+xml",
            f"<message><x xmlns='jabber:x:encrypted'>{CIPHER}</x></message>",
            "openpgp",
            None,
        ),
        ("application/xmpp+xml", "<message><body>?OTR:AAMDYSdr5gAB.</body></message>", "otr", None),
        (
            "application/xmpp+xml",
            "<message><encryption xmlns='urn:xmpp:eme:0' namespace='urn:xmpp:otr:0'/></message>",
            "otr",
            None,
        ),
        ("application/xmpp+xml", f"<s:m>{OMEMO.format('urn:xmpp:omemo:2', 'a b', 'c d')}", "omemo", "a bc d"),
        (
            "application/json",
            f'{{"algorithm": "m.megolm.v1.aes-sha2", "ciphertext": "{CIPHER}", "note": "a key"}}',
            "megolm",
            "m.megolm.v1.aes-sha2\na key",
        ),
        ("application/jose+json", f'{{"ciphertext": "{CIPHER}"}}', "jose", None),
        ("message/mls", "\x00\x01", "mls", None),
        (
            'multipart/signed; protocol="application/pkcs7-signature"; boundary=x',
            "--x\n\nin the clear\n--x--",
            None,
            "in the clear",
        ),
        (
            "application/pgp-signature",
            PGP.replace("MESSAGE", "SIGNATURE").replace("Comment: ask me\n", ""),
            None,
            None,
        ),
    ],
)
def test_what_is_encrypted_says_with_what_and_what_can_be_read_of_it(
    content_type: str, content: str, encryption: str | None, text: str | None
) -> None:
    rendering = render(content_type, content.encode())
    assert rendering.encryption == encryption
    assert (rendering.text or "").strip() == (text or "")
    assert (rendering.text is None) == (text is None)


def _sign(content: bytes) -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "anna")])
    now = datetime.now(UTC)
    certificate = x509.CertificateBuilder(name, name, key.public_key(), 1, now, now + timedelta(days=1)).sign(
        key, hashes.SHA256()
    )
    builder = pkcs7.PKCS7SignatureBuilder(content).add_signer(certificate, key, hashes.SHA256())
    return builder.sign(serialization.Encoding.DER, [pkcs7.PKCS7Options.Binary])


def _compress(content: bytes, wrap: Callable[..., bytes]) -> bytes:
    half = len(content) // 2
    octets = wrap(0x24, der(4, content[:half]), der(4, content[half:]))
    inner = wrap(0x30, der(6, b"\x2a\x86\x48"), wrap(0xA0, octets))
    data = wrap(0x30, der(2, b"\0"), wrap(0x30, wrap(0x30), wrap(0x31)), inner)
    return wrap(0x30, der(6, COMPRESSED), wrap(0xA0, data))


ENTITY = "Content-Type: text/html; charset=utf-8\r\n\r\n<p>Grüße</p>".encode()
SIGNED = _sign(ENTITY)


@pytest.mark.parametrize(
    "content",
    [
        SIGNED,
        base64.encodebytes(SIGNED),
        SIGNED[: SIGNED.index(b"</p>") + 4],
        _compress(zlib.compress(ENTITY), der),
        _compress(zlib.compress(ENTITY), ber),
    ],
)
def test_an_envelope_that_hides_nothing_is_read(content: bytes) -> None:
    assert render("application/pkcs7-mime; smime-type=signed-data", content) == ("Grüße", "s/mime")


@given(st.binary(max_size=80), st.integers(0, len(SIGNED)))
def test_no_envelope_ends_the_worker(noise: bytes, place: int) -> None:
    for content in (noise, SIGNED[:place] + noise, SIGNED[:place] + noise + SIGNED[place:]):
        assert render("application/pkcs7-mime", content).encryption == "s/mime"
