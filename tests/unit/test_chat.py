"""IRC logs as IMs: what the demo sends."""

import base64
from pathlib import Path

from contract.address import parse_address
from deploy.local.chat import SAMPLE, read_chat

LOG = b"""\
2004-12-25 [09:14] <crimsun> hello all
2004-12-25 [09:14] <kleedrac> crimsun: Hmmm ... I wonder why it does that?
2004-12-25 === will is now known as will_
2004-12-25  * crimsun waves
2004-12-25 <|QuaD-> caf\xe9
no line of a log
2004-12-25 [09:16] <crimsun>
2004-12-25 [09:17] <crimsun> http://x.org: a colon after no nick
"""


def test_a_log_becomes_ims_and_events_do_not(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(LOG)
    ims = list(read_chat(tmp_path / "log", 100))
    senders = [str(im["sender"]).removesuffix("@contoso.com") for im in ims]
    assert senders == [
        "sip:crimsun",
        "sip:kleedrac",
        "sip:crimsun",
        "sip:_quad-",
        "sip:crimsun",
        "sip:crimsun",
    ]
    assert ims[1]["recipients"] == ["sip:crimsun@contoso.com"]
    assert "conversation" not in ims[1]
    assert ims[2]["body"] == "* crimsun waves"
    assert ims[3]["encoding"] == "base64"
    assert base64.b64decode(str(ims[3]["body"])) == b"caf\xe9"
    assert ims[4]["body"] == ""
    assert ims[5]["conversation"] == "#ubuntu"


def test_no_more_is_read_than_asked_for(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(LOG)
    assert len(list(read_chat(tmp_path / "log", 2))) == 2


def test_the_sample_has_everything_that_can_go_wrong() -> None:
    ims = list(read_chat(SAMPLE, 2000))
    assert len(ims) > 20
    assert any("encoding" in im for im in ims)
    assert any(not str(im["body"]).isascii() for im in ims)
    for im in ims:
        recipients = im["recipients"]
        assert isinstance(recipients, list)
        assert parse_address(str(im["sender"])) not in recipients
