"""An archive that lost some of what its IMs refer to, or can't read some: each IM is shown all the same."""

import random
import string
from typing import Any

import pytest

from tests.integration.admin.conftest import AdminApi, make_im

_NAMES = ("users", "conversations", "content_types", "rules", "agents", "pools", "participants")
_ONE, _ALL = (
    "DELETE FROM archive.{0} WHERE ctid = (SELECT min(ctid) FROM archive.{0})",
    "DELETE FROM archive.{0}",
)
_HARMS = (
    *(_ONE.format(name) for name in (*_NAMES, "publishes", "batches")),
    *map(_ALL.format, _NAMES),
    "UPDATE archive.users SET same_as = 999 WHERE random() < 0.5",
    "UPDATE archive.conversations SET same_as = 999 WHERE random() < 0.5",
    "UPDATE archive.messages SET recipient_ids = recipient_ids || ARRAY[NULL, 998] WHERE random() < 0.2",
    "UPDATE archive.messages SET spelled = ARRAY['sip:Anna@contoso.com', NULL] WHERE random() < 0.2",
    "UPDATE archive.messages SET received_at = 'infinity' WHERE random() < 0.2",
    "UPDATE archive.messages SET body = NULL, content = NULL WHERE random() < 0.2",
)


def _pages(api: AdminApi, **parameters: Any) -> list[dict[str, Any]]:
    """Return the IMs on all pages."""
    found: list[dict[str, Any]] = []
    after: dict[str, str] = {}
    while True:
        answer = api.compliance.get("/v1/messages", params={"limit": 4, **parameters} | after)
        page = answer.raise_for_status().json()
        found += page["messages"]
        if page["next"] is None:
            return found
        after = {"after": page["next"]}


@pytest.mark.parametrize("seed", range(2))
def test_whatever_an_archive_lost_every_im_is_shown(api: AdminApi, seed: int) -> None:
    chance = random.Random(seed)
    people = [f"sip:{name}@contoso.com" for name in ("anna", "bob", "cleo", "dan", "eve")]
    ims = [
        make_im(
            f"number {n}",
            at_ms=1_700_000_000_000 + n,
            sender=chance.choice(people),
            recipients=tuple(chance.sample(people, chance.randint(1, 3))),
            conversation=f"c{n % 4}",
            content_type=chance.choice(["text/plain", "text/html"]),
            pool=f"pool{n % 2}",
            rule=f"rule {n % 3}",
        )
        for n in range(6)
    ]
    api.store(ims)
    api.execute("ALTER TABLE archive.agents DROP CONSTRAINT agents_pool_id_fkey")
    api.execute("ALTER TABLE archive.messages DROP CONSTRAINT messages_said")
    asked = [str(im.id) for im in reversed(ims)]
    for harm in chance.sample(_HARMS, len(_HARMS)):
        api.execute(f"SELECT setseed({chance.random()}); {harm}")
        shown = _pages(api)
        assert [message["id"] for message in shown] == asked, harm
        for message, im in zip(shown, reversed(ims), strict=True):
            assert len(message["recipients"]) >= len(im.recipients), harm  # nobody is left out
            assert message["sender"] == im.sender or message["sender"].startswith("unknown user "), harm
        one = chance.choice(shown)
        assert api.compliance.get(f"/v1/messages/{one['id']}").raise_for_status().json() == one, harm
        assert api.compliance.get(f"/v1/messages/{one['id']}/trace").status_code == 200, harm
        counts = api.compliance.get("/v1/completeness").raise_for_status().json()
        known = api.database.rows("SELECT count(*) FROM archive.agents")
        assert [(counts["totals"]["agents"],)] == known, harm
    assert len(_pages(api, order="asc")) == len(ims)
    for filters in ({"text": "number"}, {"conversation": "c1"}, {"user": people[0]}):
        _pages(api, **filters)


def test_a_name_that_is_gone_is_shown_with_its_number(api: AdminApi) -> None:
    [im] = [make_im("hello")]
    api.store([im])
    api.execute("DELETE FROM archive.users; DELETE FROM archive.conversations; DELETE FROM archive.agents")
    [shown] = _pages(api)
    assert shown["sender"].startswith("unknown user ")
    assert shown["recipients"][0].startswith("unknown user ")
    assert shown["sender"] != shown["recipients"][0]
    assert shown["conversation"].startswith("unknown conversation ")
    assert shown["pool"].startswith("unknown pool of agent ")
    assert (shown["agent"], shown["body"]) == ("00000000-0000-0000-0000-000000000000", "hello")
    answer = api.compliance.get("/v1/messages", params={"user": shown["sender"]})
    assert answer.status_code == 422  # it is nobody's address


@pytest.mark.parametrize("sign", ["-", ""])
def test_an_im_whose_time_of_storing_cannot_be_read_has_a_trace(api: AdminApi, sign: str) -> None:
    im = make_im("hello")
    api.store([im])
    change = "UPDATE archive.messages SET stored_at = "
    api.execute(change + f"'{sign}infinity'")
    trace = api.operator.get(f"/v1/messages/{im.id}/trace").raise_for_status().json()
    assert [step["step"] for step in trace["steps"]][:2] == ["accepted", "decided"]


def test_content_that_cannot_be_read_any_more_is_named_and_hides_no_other_im(api: AdminApi) -> None:
    long = "".join(random.choices(string.ascii_letters, k=20_000))  # in a row of its own, beside the table
    ims = [make_im(body, at_ms=1_700_000_000_000 + n) for n, body in enumerate(["one", long, "three"])]
    api.store(ims)
    api.execute("CREATE EXTENSION pg_surgery")
    api.execute(
        "DO $$ DECLARE toast regclass; pieces tid[]; BEGIN"
        " SELECT c.reltoastrelid INTO toast FROM archive.messages AS m JOIN pg_class AS c"
        " ON c.oid = m.tableoid WHERE length(m.body) > 10000;"
        " EXECUTE format('SELECT array_agg(ctid) FROM %s', toast) INTO pieces;"
        " PERFORM heap_force_kill(toast, pieces); END $$"
    )
    for parameters in ({}, {"text": "e"}, {"user": ims[0].sender, "text": "e"}):
        shown = _pages(api, order="asc", **parameters)
        assert [(message["body"], message.get("damaged")) for message in shown] == [
            ("one", None), (None, ["body"]), ("three", None)
        ]  # fmt: skip
        assert shown[1]["sender"] == ims[1].sender
    read = api.compliance.get(f"/v1/messages/{ims[1].id}").raise_for_status().json()
    assert read == shown[1]
