"""Stored content is rendered again with what the code of today can read."""

import base64
from uuid import uuid4

import psycopg
import pytest

import archiving.rerendering
from archiving.archive import Archive
from archiving.rerendering import render_again
from contract.message import IM
from tests.conftest import ArchiveDatabase
from tests.integration.archiving_service import changed, make_ims, run_command

RUSSIAN = "Купи в девять"


def store(database: ArchiveDatabase, ims: list[IM]) -> None:
    archive = Archive(database.url("lcs_archiving"))
    archive.store(ims)
    archive.close()


def spoil(database: ArchiveDatabase) -> None:
    """Make the archive as a version that can read little would have left it."""
    with psycopg.connect(database.url("postgres")) as connection:
        connection.execute(
            "UPDATE archive.messages SET body = CASE WHEN content_type_id % 2 = 0 THEN 'noise' END,"
            " encryption = NULL WHERE content IS NOT NULL"
        )


def state(database: ArchiveDatabase) -> list[tuple[object, ...]]:
    return database.rows("SELECT id, body, content, encryption FROM archive.messages ORDER BY id")


def some_ims() -> list[IM]:
    plain, text, page, sealed, picture, packed = make_ims(6)
    return [
        plain,
        changed(
            text,
            content_type="text/plain; charset=koi8-r",
            encoding="base64",
            body=base64.b64encode(RUSSIAN.encode("koi8_r")).decode(),
        ),
        changed(page, content_type="text/html; charset=iso-8859-1", body="<p>Grüße</p>"),
        changed(sealed, body="?OTR:AAMDYSdr5gAB."),
        changed(picture, content_type="image/png", encoding="base64", body="iVBOR/8="),
        changed(packed, content_type="application/json", body='{"a": "hidden in json"}'),
    ]


def test_the_command_renders_again_what_is_stored(database: ArchiveDatabase) -> None:
    ims = some_ims()
    store(database, ims)
    before = state(database)
    spoil(database)
    assert state(database) != before
    result = run_command("render --who anna", {"LCS_DATABASE_URL": database.url("lcs_archiving")})
    assert result.returncode == 0, result.stderr
    page = ims[2].id  # its row doesn't say that it came as characters

    after = [row for row in state(database) if row[0] != page]
    assert after == [row for row in before if row[0] != page]
    assert database.rows(
        "SELECT who, looked_at, changed > 0, ended_at IS NOT NULL FROM archive.renderings"
    ) == [("anna", 5, True, True)]
    assert database.rows(
        "SELECT actor, action, detail ->> 'step', detail ->> 'looked_at' FROM policy.audit"
        " WHERE action = 'archive.render' ORDER BY id"
    ) == [("anna", "archive.render", "began", "0"), ("anna", "archive.render", "ended", "5")]


def test_what_is_right_is_left_as_it_is(database: ArchiveDatabase) -> None:
    store(database, some_ims())
    before = state(database)
    assert render_again(database.url("lcs_archiving"), "anna") == (5, 0)
    assert state(database) == before


def test_a_run_that_is_cut_short_goes_on_where_it_was(
    database: ArchiveDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    store(
        database,
        [
            changed(im, content_type="text/html", body=f"<p>{place}</p>")
            for place, im in enumerate(make_ims(10))
        ],
    )
    before = state(database)
    spoil(database)
    monkeypatch.setattr(archiving.rerendering, "_BATCH", 3)
    seen: list[object] = []

    def render(im: archiving.rerendering._Stored) -> object:
        if len(seen) == 7:
            raise KeyboardInterrupt
        seen.append(im.id)
        return real(im)

    real = archiving.rerendering._render
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(archiving.rerendering, "_render", render)
        render_again(database.url("lcs_archiving"), "anna")
    assert render_again(database.url("lcs_archiving"), "bob") == (10, 10)
    assert state(database) == before
    steps = database.rows("SELECT actor, detail ->> 'step' FROM policy.audit ORDER BY id")
    assert steps == [("anna", "began"), ("bob", "resumed"), ("bob", "ended")]
    assert render_again(database.url("lcs_archiving"), "bob", anew=True) == (10, 0)


def test_only_one_renders_at_a_time(database: ArchiveDatabase) -> None:
    with psycopg.connect(database.url("lcs_archiving"), autocommit=True) as connection:
        connection.execute("SELECT archive.begin_rendering('anna', false)")
        result = run_command("render --who bob", {"LCS_DATABASE_URL": database.url("lcs_archiving")})
        assert result.returncode == 2
    result = run_command("render", {"LCS_DATABASE_URL": database.url("lcs_archiving")})
    assert result.returncode == 2
    assert "--who" in result.stderr


def test_rendering_changes_nothing_but_text_and_encryption_of_content(database: ArchiveDatabase) -> None:
    plain, page = make_ims(2)
    store(database, [plain, changed(page, content_type="text/html", body="<p>said</p>")])
    with psycopg.connect(database.url("lcs_archiving"), autocommit=True) as connection:
        for statement in (
            "UPDATE archive.messages SET body = 'other'",
            "SELECT content FROM archive.messages",
            "SELECT * FROM archive.renderings",
            "SELECT archive.record_rendering(1, 'began', 'anna')",
            "SELECT archive.set_renderings(1, gen_random_uuid(), 1, '{}', '{}', '{}', '{}')",
        ):
            with pytest.raises(psycopg.Error):
                connection.execute(statement.encode())
        contents = "SELECT count(*) FROM archive.contents_to_render(%s, 9)"
        assert connection.execute(contents, [1]).fetchone() == (0,)  # no run, no content
        began = connection.execute("SELECT run FROM archive.begin_rendering('anna', false)").fetchone()
        assert began is not None
        assert connection.execute(contents, [began[0]]).fetchone() == (1,)
        done = connection.execute(
            "SELECT archive.set_renderings(%s, %s, 2, %s, %s, %s, %s)",
            [
                began[0],
                page.id,
                [plain.id, page.id, uuid4()],
                [plain.sent_at, page.sent_at, page.sent_at],
                ["forged"] * 3,
                ["rot13"] * 3,
            ],
        ).fetchone()
        assert done == (1,)
    assert database.rows("SELECT body, content, encryption FROM archive.messages ORDER BY seq") == [
        ("hello", None, None),
        ("forged", b"<p>said</p>", "rot13"),
    ]
