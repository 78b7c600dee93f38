"""The pages that describe an IM's way name every file through which one passes."""

from collections.abc import Callable
from pathlib import Path

from contract.message import make_id
from deploy.local.process import wait_for
from tests.conftest import ArchiveDatabase, Vhost
from tests.integration.archiving_service import running_worker, stored_ids
from tests.integration.frontend_service import IM, FrontEnd
from tests.integration.way import ROOT
from tests.unit.test_docs import named_files

_TEXT = "Shall we meet at ten?"
_PAGES = (ROOT / "CONTRIBUTING.md", ROOT / "docs" / "architecture.md")


def test_the_pages_name_every_file_through_which_an_im_passes(
    vhost: Vhost, database: ArchiveDatabase, start: Callable[..., FrontEnd], tmp_path: Path
) -> None:
    im = make_id()
    way = tmp_path / "way"
    follow = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r})\n"
        f"from tests.integration.way import follow; follow({str(im)!r}, {_TEXT!r}, {str(way)!r})\n"
    )
    front_end = start(vhost.url("frontend"), patch=follow)
    front_end.wait_until_ready()
    with running_worker(vhost, database, tmp_path / "worker", patch=follow) as worker:
        assert front_end.post(IM | {"id": str(im), "body": _TEXT}).status_code == 201
        wait_for(lambda: stored_ids(database) == [im], "the IM")
        worker.stop()  # it acknowledges first
    passed = {name_of(file) for file in way.read_text().splitlines()}
    assert {"frontend/publisher.py", "archiving/archive.py"} < passed
    assert {page.name: passed - named_files(page) for page in _PAGES} == {page.name: set() for page in _PAGES}


def name_of(file: str) -> str:
    """Return a file's path as the pages name it: without the folder of its service."""
    parts = Path(file).parts
    return "/".join(parts[2:] if parts[0] == "services" else parts)
