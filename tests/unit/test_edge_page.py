"""The edge's configuration fits the chat page that it serves."""

import re
from pathlib import Path

_CONFIGURATION = Path(__file__).parent.parent.parent / "deploy" / "kamailio" / "kamailio.cfg"


def test_a_reader_of_the_chat_page_may_take_its_script_slowly() -> None:
    """Kamailio cuts a connection for which more waits than its queue takes, as over a bridge."""
    bounds = dict(re.findall(r"^(\w+)=(\d+)", _CONFIGURATION.read_text(), re.MULTILINE))
    assert int(bounds["tcp_conn_wq_max"]) >= int(bounds["pv_buffer_size"])  # the script is one value
