"""Every field of a policy, whichever there are, comes back wherever a policy is read."""

import asyncio
from collections.abc import Iterator
from enum import EnumType
from pathlib import Path
from typing import Any, Final, get_args, get_origin

import msgspec
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from contract.policy import Policy, PolicySettings
from contract.sdp import UnseenKind
from frontend.config import FrontEndSettings
from frontend.policy.source import PolicySource
from tests.integration.admin.conftest import AdminApi

_OF_ANSWERS: Final = {"version", "stamp", "since"}
"""Fields that the admin API sets itself."""
_OURS: Final = frozenset({"contoso.com", "litware.com"})
_texts: Final = {
    "name": st.sampled_from(["pool1", "edge"]),
    "domains": st.just(_OURS),
    "gateway_for": st.frozensets(st.sampled_from(["fabrikam.com", "*"])),
    "unseen_media": st.sets(st.sampled_from(get_args(UnseenKind))).map(lambda kinds: tuple(sorted(kinds))),
    "language": st.sampled_from(["en", "de"]),
    "wordings": st.fixed_dictionaries({"en": st.sampled_from(["archived", "kept"]), "de": st.just("ja")}),
    "partners": st.dictionaries(st.just("fabrikam.de"), st.sampled_from(["en", "de"])),
}
"""Values of fields that the admin API takes certain texts for. Those of other types follow from the type."""


def _values(field: msgspec.structs.FieldInfo) -> st.SearchStrategy[Any]:
    if field.name in _texts:
        return _texts[field.name]
    kind = field.type
    if kind is bool:
        return st.booleans()
    if isinstance(kind, EnumType):
        return st.sampled_from(list(kind))
    if get_origin(kind) is tuple:
        return st.lists(_built(get_args(kind)[0]), max_size=2, unique_by=lambda each: each.name).map(tuple)
    return _built(kind)


def _built(struct: type[Any]) -> st.SearchStrategy[Any]:
    fields = msgspec.structs.fields(struct)
    return st.builds(struct, **{each.name: _values(each) for each in fields if each.name not in _OF_ANSWERS})


policies = st.builds(
    Policy,
    st.builds(
        PolicySettings,
        version=st.just(0),
        since=st.just(0),
        **{
            each.name: _values(each)
            for each in msgspec.structs.fields(PolicySettings)
            if each.name not in _OF_ANSWERS
        },
    ),
    users=st.dictionaries(
        st.sampled_from(["sip:anna@contoso.com", "sip:bob@contoso.com"]), st.integers(1, 3)
    ),
)


def _resources(wanted: PolicySettings) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the path and the document of each resource: a field's name is its path's."""
    for name, value in msgspec.structs.asdict(wanted).items():
        if name in _OF_ANSWERS:
            continue
        if isinstance(value, bool):
            yield name, {"enabled": value}
        elif isinstance(value, str):
            yield f"global/{name}", {"archive": value}
        elif isinstance(value, frozenset):
            yield from ((f"{name}/{each}", {}) for each in value)
        elif isinstance(value, tuple):
            for each in value:
                document = msgspec.to_builtins(each)
                yield f"{name}/{document.pop('name')}", document
        else:
            yield name, msgspec.to_builtins(value)


def _put(api: AdminApi, before: PolicySettings, wanted: Policy) -> None:
    for path, _ in reversed(list(_resources(before))):
        if "/" in path and not path.startswith("global/"):
            api.administrator.delete(f"/v1/policy/{path}").raise_for_status()
    for path, document in _resources(wanted.settings):
        api.administrator.put(f"/v1/policy/{path}", json=document).raise_for_status()
    for address in ("sip:anna@contoso.com", "sip:bob@contoso.com"):
        flags = wanted.users.get(address, 0)
        document = {"archive_internal": bool(flags & 1), "archive_federated": bool(flags & 2)}
        api.administrator.put(f"/v1/policy/users/{address}", json=document).raise_for_status()


def _answer(api: AdminApi) -> PolicySettings:
    """Return the whole policy that administrators read, as front ends would hold it."""
    answer = api.administrator.get("/v1/policy").raise_for_status().json()
    for each in msgspec.structs.fields(PolicySettings):
        if each.type is bool:
            answer[each.name] = answer[each.name]["enabled"]
    stamp = api.operator.get("/v1/front-ends").json()["stamp"]
    return msgspec.convert(answer | {"stamp": stamp, "since": 0}, PolicySettings)


def _fetched(api: AdminApi, held: Policy | None) -> Policy:
    """Return the policy as a front end applies it: all of it or, if one is held, what changed since."""
    front_end = FrontEndSettings(
        amqp_url="amqp://nowhere", connectors_file=Path("none"), admin_api_token="frontend"
    )

    async def fetch() -> Policy:
        source = PolicySource(front_end, api.url)
        try:
            return await source.fetch(held)
        finally:
            await source.close()

    return asyncio.run(fetch())


@settings(
    max_examples=5,
    phases=[Phase.generate],
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(wanted=policies)
def test_every_field_comes_back_from_the_answer_the_snapshot_and_what_a_front_end_applies(
    api: AdminApi, wanted: Policy
) -> None:
    held = _fetched(api, None)
    _put(api, held.settings, wanted)
    read = _answer(api)
    assert read == msgspec.structs.replace(wanted.settings, version=read.version, stamp=read.stamp)
    assert _fetched(api, None) == Policy(read, wanted.users)
    assert _fetched(api, held) == Policy(read, wanted.users)
