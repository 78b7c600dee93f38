"""The admin API's house: what each feature of it brings, and what its modules leave to others."""

import ast
import importlib
import pkgutil
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from fastapi import APIRouter
from fastapi.routing import APIRoute

import admin_api
from admin_api.access import admission
from admin_api.access.roles import ALLOWED
from admin_api.app import FEATURES, create_app
from admin_api.config import AdminSettings
from tests.integration.admin.conftest import NO_BROKER


def modules() -> Iterator[ModuleType]:
    for found in pkgutil.walk_packages(admin_api.__path__, "admin_api."):
        if ".migrations." not in found.name and not found.name.endswith("__main__"):
            yield importlib.import_module(found.name)


def test_every_router_is_served_by_one_feature() -> None:
    made = {id(each): module for module in modules() for each in vars(module).values() if _is_router(each)}
    served = Counter(id(router) for feature in FEATURES for router in feature.routers)
    assert made.keys() == served.keys()
    assert set(served.values()) == {1}


def _is_router(value: object) -> bool:
    return isinstance(value, APIRouter)


def test_every_tag_of_a_route_is_described_by_a_feature() -> None:
    tags = {tag for feature in FEATURES for tag in feature.tags}
    used = {tag for feature in FEATURES for router in feature.routers for tag in router.tags}
    assert used == tags


def test_the_table_of_roles_has_an_entry_for_each_route_that_needs_a_token_and_no_more() -> None:
    guarded = {
        (method, route.path_format)
        for feature in FEATURES
        if not feature.is_open
        for router in feature.routers
        for route in router.routes
        if isinstance(route, APIRoute)
        for method in route.methods or ()
    }
    assert guarded == ALLOWED.keys()


def test_a_route_without_an_entry_keeps_the_service_from_starting(monkeypatch: pytest.MonkeyPatch) -> None:
    allowed = {key: roles for key, roles in ALLOWED.items() if key != ("GET", "/v1/messages")}
    monkeypatch.setattr(admission, "ALLOWED", allowed)
    settings = AdminSettings(database_url="postgresql://", amqp_url=NO_BROKER, principals_file="/dev/null")
    with pytest.raises(KeyError, match="/v1/messages"):
        create_app(settings, {})


_MOST_LINES = 300
_SQL = re.compile(r"^\s*(SELECT|INSERT INTO|UPDATE|DELETE FROM|WITH)\s", re.MULTILINE)
_ASKS = {"execute", "exec", "exec_driver_sql", "scalar", "scalars", "select", "text"}
_LEAVE = {"Session", "SQLAlchemyError"}
"""Names of the database libraries that a module with routes may import."""


def sources() -> Iterator[tuple[str, ast.Module]]:
    root = Path(admin_api.__path__[0])
    for path in root.rglob("*.py"):
        if "migrations" not in path.parts:
            yield str(path.relative_to(root)), ast.parse(path.read_text())


def test_sql_never_stands_in_a_module_with_routes() -> None:
    with_routes = [(name, tree) for name, tree in sources() if "APIRouter" in _calls_of(tree)]
    assert with_routes
    assert {name: found for name, tree in with_routes if (found := _sql_of(tree))} == {}


@pytest.mark.parametrize(
    "source",
    [
        "from sqlmodel import select",
        "import sqlalchemy",
        "session.execute(query)",
        "session.get(ParkedRow, number)",
        "QUERY = 'SELECT 1 FROM policy.users'",
    ],
)
def test_sql_is_found(source: str) -> None:
    assert _sql_of(ast.parse(source))


def test_no_module_is_longer_than_a_few_pages() -> None:
    lengths = {name: tree.body[-1].end_lineno or 0 for name, tree in sources() if tree.body}
    assert {name: length for name, length in lengths.items() if length > _MOST_LINES} == {}


def _calls_of(tree: ast.AST) -> set[str]:
    calls = [node.func for node in ast.walk(tree) if isinstance(node, ast.Call)]
    return {ast.unparse(call).rpartition(".")[2] for call in calls}


def _sql_of(tree: ast.AST) -> list[str]:
    found = [f"calls {name}" for name in sorted(_calls_of(tree) & _ASKS)]
    for node in ast.walk(tree):
        match node:
            case ast.ImportFrom(module=str(module), names=names) if _is_of_database(module):
                found += [f"imports {each.name}" for each in names if each.name not in _LEAVE]
            case ast.Import(names=names):
                found += [f"imports {each.name}" for each in names if _is_of_database(each.name)]
            case ast.Call(func=ast.Attribute(value=ast.Name(id="session"), attr=name)):
                found.append(f"calls session.{name}")
            case ast.Constant(value=str(text)) if _SQL.search(text):
                found.append(f"says {text[:40]!r}")
    return found


def _is_of_database(module: str) -> bool:
    return module.partition(".")[0] in ("sqlalchemy", "sqlmodel", "psycopg")
