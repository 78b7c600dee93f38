"""The admin API's house: what each feature of it brings, and what its modules leave to others."""

import importlib
import pkgutil
from collections import Counter
from collections.abc import Iterator
from types import ModuleType

from fastapi import APIRouter

import admin_api
from admin_api.app import FEATURES


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
