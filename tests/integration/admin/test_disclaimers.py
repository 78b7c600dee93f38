"""The notice to federated partners: worded by administrators, claimed by front ends, shown to officers."""

import random
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from contract.message import make_id
from tests.integration.admin.conftest import AdminApi

DISCLAIMER = {
    "enabled": True,
    "language": "en",
    "wordings": {"en": "This conversation is archived.", "de": "Dieses Gespräch wird archiviert."},
    "partners": {"fabrikam.de": "de"},
}


def _claim(conversation: str, *partners: str, im: str | None = None) -> dict[str, Any]:
    return {
        "front_end": "fe1",
        "connector": "edge",
        "conversation": conversation,
        "im": im or str(make_id()),
        "at": "2026-01-31T08:00:00Z",
        "version": 2,
        "notices": [
            {"partner": each, "language": "en", "wording": "This conversation is archived."}
            for each in partners
        ],
    }


def _told(api: AdminApi, claim: dict[str, Any], **parameters: str) -> list[str]:
    answer = api.frontend.post("/v1/disclaimers", json=claim, params=parameters)
    assert answer.status_code == 200, answer.text
    return sorted(answer.json()["partners"])


def test_a_disclaimer_is_worded_versioned_and_audited(api: AdminApi) -> None:
    put = api.administrator.put("/v1/policy/disclaimer", json=DISCLAIMER)
    assert (put.status_code, put.headers["ETag"], put.json()) == (
        200,
        api.etag(2),
        DISCLAIMER | {"version": 2},
    )
    assert api.operator.get("/v1/policy/disclaimer").json() == put.json()
    assert api.administrator.get("/v1/policy").json()["disclaimer"] == put.json()
    record = api.audit()[0]
    assert (record["action"], record["version"]) == ("policy.disclaimer.put", 2)
    assert (record["before"]["enabled"], record["after"]) == (False, DISCLAIMER)
    stale = api.administrator.put(
        "/v1/policy/disclaimer", json=DISCLAIMER | {"enabled": False}, headers={"If-Match": '"1"'}
    )
    assert stale.status_code == 412


def test_a_disclaimer_nobody_could_read_is_refused(api: AdminApi) -> None:
    refused: list[tuple[dict[str, Any], str]] = [
        ({"wordings": {}}, "no wording in de, en"),
        ({"partners": {"fabrikam.fr": "fr"}}, "no wording in fr"),
        ({"wordings": {"en": "", "de": "x"}}, "at least 1 character"),
        ({"wordings": {"en": "x", "EN": "y", "de": "z"}}, "spellings of one"),
        ({"wordings": {"not a language": "x"}}, "pattern"),
        ({"partners": {"no domain": "de"}}, "is not a SIP domain"),
        ({"enabled": "yes"}, "boolean"),
    ]
    for change, why in refused:
        answer = api.administrator.put("/v1/policy/disclaimer", json=DISCLAIMER | change)
        assert answer.status_code == 422, why
        assert why in answer.text
    assert api.version == 1


def test_a_partner_is_told_once_in_a_conversation_whoever_asks(api: AdminApi) -> None:
    bob, carol = "sip:bob@fabrikam.com", "sip:carol@fabrikam.com"
    first = _claim("budget", bob)
    assert _told(api, first) == [bob]
    assert _told(api, first) == [bob], "asked again with the same IM, the answer is the same"
    assert _told(api, _claim("budget", bob, carol)) == [carol]
    assert _told(api, _claim("another", bob)) == [bob]


def test_who_could_not_be_told_is_told_with_the_next_and_the_trail_keeps_it(api: AdminApi) -> None:
    bob, carol = "sip:bob@fabrikam.com", "sip:carol@fabrikam.com"
    first, second = _claim("budget", bob), _claim("budget", carol)
    for claim in (first, second):
        _told(api, claim)
    for _ in range(2):
        assert api.frontend.delete(f"/v1/disclaimers/{first['im']}").status_code == 204
    assert [each["partner"] for each in api.compliance.get("/v1/disclaimers").json()["disclaimers"]] == [
        carol
    ]
    [record] = [each for each in api.audit() if each["action"] == "disclaimer.retract"]
    assert (record["target"], record["before"]["im"]) == (bob, first["im"])
    assert _told(api, _claim("budget", bob)) == [bob]
    assert api.compliance.delete(f"/v1/disclaimers/{second['im']}").status_code == 403


def _confirm(api: AdminApi, claim: dict[str, Any], connector: str = "edge") -> int:
    confirmation = {"connector": connector, "at": "2026-01-31T08:00:01Z"}
    return api.frontend.post(f"/v1/disclaimers/{claim['im']}/told", json=confirmation).status_code


def _states(api: AdminApi) -> list[tuple[str, str | None]]:
    listed = api.compliance.get("/v1/disclaimers").raise_for_status().json()["disclaimers"]
    return [(each["state"], each["told_at"]) for each in listed]


def _let_pass_five_minutes(api: AdminApi) -> None:
    _let_pass(api, 300)


def _let_pass(api: AdminApi, seconds: float) -> None:
    api.execute(f"UPDATE policy.disclaimers_sent SET noted_at = noted_at - {seconds} * interval '1 second'")  # noqa: S608 - a number


def test_told_is_who_the_connector_that_was_handed_the_notice_says_was_told(api: AdminApi) -> None:
    claim = _claim("budget", "sip:bob@fabrikam.com")
    assert _confirm(api, claim) == 404, "nothing was handed over"
    _told(api, claim)
    assert _states(api) == [("handed_over", None)]
    assert _confirm(api, claim, "another") == 404
    assert _states(api) == [("handed_over", None)]
    assert _confirm(api, claim) == 204
    assert _confirm(api, claim) == 204, "said twice is once"
    assert _states(api) == [("told", "2026-01-31T08:00:01Z")]


def test_what_is_not_confirmed_is_handed_over_again_and_what_is_never(api: AdminApi) -> None:
    bob = "sip:bob@fabrikam.com"
    _told(api, _claim("budget", bob))
    assert _told(api, _claim("budget", bob)) == [], "it may be on its way"
    _let_pass_five_minutes(api)
    again = _claim("budget", bob)
    assert _told(api, again) == [bob]
    assert _confirm(api, again) == 204
    assert _states(api) == [("told", "2026-01-31T08:00:01Z"), ("handed_over", None)], "each is kept"
    _let_pass_five_minutes(api)
    answer = api.frontend.post("/v1/disclaimers", json=_claim("budget", bob)).json()
    assert answer == {"partners": [], "told": [bob]}


def test_an_im_that_comes_again_under_another_id_brings_the_notice_again(api: AdminApi) -> None:
    bob, digest = "sip:bob@fabrikam.com", {"digest": "0f" * 16}
    assert _told(api, _claim("budget", bob), **digest) == [bob]
    assert _told(api, _claim("budget", bob), digest="f0" * 16) == [], "another IM: it may be on its way"
    assert _told(api, _claim("budget", bob) | {"connector": "another"}, **digest) == []
    again = [_claim("budget", bob) for _ in range(9)]
    assert [_told(api, each, **digest) for each in again] == [[bob]] * 9
    assert _told(api, _claim("budget", bob), **digest) == [], "whoever brings it so often has the notice"
    assert _confirm(api, again[4]) == 204
    assert [state for state, _ in _states(api)] == ["handed_over"] * 4 + ["told"] + ["handed_over"] * 5


def test_what_nobody_confirms_is_handed_over_at_growing_intervals(api: AdminApi) -> None:
    bob = "sip:bob@fabrikam.com"
    assert _told(api, _claim("budget", bob)) == [bob]
    for seconds in (10, 20, 40, 80, 160, 320, 640, 1280, 2560, 3600, 3600):
        _let_pass(api, seconds - 5)
        assert _told(api, _claim("budget", bob)) == []
        _let_pass(api, 5)
        assert _told(api, _claim("budget", bob)) == [bob], seconds


def test_one_im_of_two_connectors_is_each_one_s_own(api: AdminApi) -> None:
    bob = "sip:bob@fabrikam.com"
    claim = _claim("budget", bob)
    other = claim | {"connector": "another"}
    assert _told(api, claim) == [bob]
    assert _told(api, other) == [], "the first has the notice"
    assert _confirm(api, other, "another") == 404
    _let_pass_five_minutes(api)
    assert _told(api, other) == [bob]
    assert api.frontend.delete(f"/v1/disclaimers/{claim['im']}?connector=another").status_code == 204
    assert _confirm(api, claim) == 204
    for query in ("?connector=edge", ""):
        assert api.frontend.delete(f"/v1/disclaimers/{claim['im']}{query}").status_code == 204
    assert [state for state, _ in _states(api)] == ["told"], "what was said to be delivered is not taken back"


def test_what_was_handed_over_while_nobody_could_be_asked_is_noted_as_it_was(api: AdminApi) -> None:
    bob = "sip:bob@fabrikam.com"
    claims = [_claim("budget", bob) for _ in range(3)]
    for claim in claims:
        assert _told(api, claim, handed_over="true") == [bob]
    assert _confirm(api, claims[2]) == 204
    assert [state for state, _ in _states(api)] == ["told", "handed_over", "handed_over"]
    assert _told(api, claims[0]) == [], "another IM's notice was delivered"


def test_addresses_of_any_length_have_their_notices(api: AdminApi) -> None:
    letters = random.Random(1)
    names = ["".join(chr(letters.randrange(0x20000, 0x2A6D6)) for _ in range(430)) for _ in range(2)]
    partner, ours = (f"sip:{name}@fabrikam.com" for name in names)
    conversation = f"p2p:{ours}|{partner}"
    claim = _claim(conversation, partner)
    assert _told(api, claim) == [partner]
    assert _told(api, _claim(conversation, partner)) == []
    listed = api.compliance.get("/v1/disclaimers", params={"partner": partner, "conversation": conversation})
    assert [each["im"] for each in listed.json()["disclaimers"]] == [claim["im"]]
    assert api.frontend.delete(f"/v1/disclaimers/{claim['im']}").status_code == 204
    assert api.audit(target=partner)[0]["action"] == "disclaimer.retract"
    assert _told(api, claim) == [partner]
    assert _confirm(api, claim) == 204


def test_of_many_front_ends_at_once_one_tells(api: AdminApi) -> None:
    claims = [_claim("at once", "sip:bob@fabrikam.com", "sip:carol@fabrikam.com") for _ in range(16)]
    with ThreadPoolExecutor(8) as front_ends:
        told = list(front_ends.map(lambda claim: _told(api, claim), claims))
    assert sorted(map(len, told)) == [0] * 15 + [2]


def test_who_was_told_is_shown_with_the_conversation_and_each_look_is_audited(api: AdminApi) -> None:
    claim = _claim("budget", "sip:bob@fabrikam.com")
    _told(api, claim)
    _told(api, _claim("another", "sip:carol@fabrikam.com"))
    shown = api.compliance.get("/v1/messages", params={"conversation": "budget"}).json()["disclaimers"]
    assert shown == [
        {
            "conversation": "budget",
            "partner": "sip:bob@fabrikam.com",
            "im": claim["im"],
            "state": "handed_over",
            "at": "2026-01-31T08:00:00Z",
            "told_at": None,
            "connector": "edge",
            "front_end": "fe1",
            "language": "en",
            "wording": "This conversation is archived.",
            "version": 2,
        }
    ]
    listed = api.compliance.get("/v1/disclaimers", params={"partner": "bob@fabrikam.com"})
    assert api.compliance.get("/v1/disclaimers", params={"patner": "x"}).status_code == 422
    assert listed.json() == {"disclaimers": shown, "next": None}
    assert len(api.compliance.get("/v1/disclaimers").json()["disclaimers"]) == 2
    actions = [record["action"] for record in api.audit()]
    assert actions[:3] == ["archive.disclaimers", "archive.disclaimers", "archive.search"]


def test_who_was_told_is_paged_newest_first_and_stable(api: AdminApi) -> None:
    for number in range(5):
        _told(api, _claim(f"c{number}", "sip:bob@fabrikam.com"))
    _told(api, _claim("c0", "sip:carol@fabrikam.com"))
    told: list[str] = []
    parameters = {"partner": "bob@fabrikam.com", "limit": "2"}
    while True:
        page = api.compliance.get("/v1/disclaimers", params=parameters).raise_for_status().json()
        told += [each["conversation"] for each in page["disclaimers"]]
        if page["next"] is None:
            break
        parameters["after"] = str(page["next"])
        _told(api, _claim(f"later {page['next']}", "sip:bob@fabrikam.com"))
    assert told == ["c4", "c3", "c2", "c1", "c0"]
    wrong = api.compliance.get("/v1/disclaimers", params={"after": "0"})
    assert (wrong.status_code, wrong.json()["field"]) == (422, "after")
