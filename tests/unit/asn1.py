"""Elements of ASN.1 (X.690), as the tests of S/MIME's envelopes make them."""


def der(tag: int, *contents: bytes) -> bytes:
    """Return an element of known length."""
    whole = b"".join(contents)
    return bytes((tag, 0x84)) + len(whole).to_bytes(4) + whole


def ber(tag: int, *contents: bytes) -> bytes:
    """Return an element whose end is marked."""
    return bytes((tag, 0x80)) + b"".join(contents) + bytes(2)
