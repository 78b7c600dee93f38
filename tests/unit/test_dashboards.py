"""Dashboards, rules and runbook: files that belong together."""

import json
import pkgutil
import re
from collections.abc import Iterator
from graphlib import TopologicalSorter
from importlib import import_module
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import yaml
from grafana_foundation_sdk.models.dashboard import Dashboard
from prometheus_client import REGISTRY

import admin_api
import archiving
import frontend
import runtime
from admin_api.metrics import COMPLETENESS
from deploy.grafana.boards import FOLDER, render_all
from deploy.grafana.panels import DATA_SOURCE

DEPLOY = FOLDER.parent.parent
PROVISIONING = FOLDER.parent / "provisioning"
ROOT = DEPLOY.parent


def alerts() -> list[dict[str, Any]]:
    groups = yaml.safe_load((DEPLOY / "prometheus" / "rules" / "alerts.yml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def anchors(page: Path) -> set[str]:
    """Return what a link to a heading of a page may end with, as GitHub makes it."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_files_of_the_dashboards_are_those_of_the_code() -> None:
    files = {path.name: path.read_text() for path in FOLDER.iterdir()}
    assert files == render_all(), "run: make dashboards"


@pytest.mark.parametrize("path", sorted(FOLDER.iterdir()), ids=lambda path: path.stem)
def test_a_dashboard_is_one_that_grafana_reads(path: Path) -> None:
    document = json.loads(path.read_text())
    read = Dashboard.from_json(document)
    assert read.uid == path.stem
    titles = [panel["title"] for panel in document["panels"]]
    assert len(set(titles)) == len(titles)
    for panel in document["panels"]:
        if panel["type"] == "row":
            continue
        assert panel["description"], panel["title"]
        assert panel["datasource"] == {"type": "prometheus", "uid": DATA_SOURCE}
        assert panel["targets"]
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24


def test_the_first_and_largest_panel_is_the_depth_of_the_queue() -> None:
    first, *others = json.loads((FOLDER / "lcs-overview.json").read_text())["panels"]
    assert first["title"] == "Queue depth of lcslog"
    sizes = [panel["gridPos"]["w"] * panel["gridPos"]["h"] for panel in others if panel["type"] != "row"]
    assert first["gridPos"]["w"] * first["gridPos"]["h"] > max(sizes)


def test_grafana_is_provisioned_with_the_data_source_and_the_folder_that_the_files_name() -> None:
    [source] = yaml.safe_load((PROVISIONING / "datasources" / "prometheus.yml").read_text())["datasources"]
    assert source["uid"] == DATA_SOURCE
    [provider] = yaml.safe_load((PROVISIONING / "dashboards" / "lcs.yml").read_text())["providers"]
    grafana = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]["grafana"]
    sources = {volume.split(":")[1]: volume.split(":")[0] for volume in grafana["volumes"]}
    assert FOLDER.samefile(ROOT / sources[provider["options"]["path"]])
    assert PROVISIONING.samefile(ROOT / sources["/etc/grafana/provisioning"])


def test_every_alert_has_its_section_in_the_runbook_and_every_section_its_alert() -> None:
    page = ROOT / "docs" / "operations.md"
    for alert in alerts():
        path, _, anchor = alert["annotations"]["runbook_url"].partition("#")
        assert ROOT / path == page
        assert anchor == alert["alert"].lower()
        assert anchor in anchors(page)
        assert alert["labels"]["severity"] in {"page", "ticket"}
    told = set(re.findall(r"^### (\w+)$", page.read_text(), re.MULTILINE))
    assert told == {alert["alert"] for alert in alerts()}


def test_every_alert_has_a_test_that_it_fires_and_one_that_it_is_quiet() -> None:
    files = [yaml.safe_load(path.read_text()) for path in (ROOT / "tests" / "prometheus").glob("*.yml")]
    tests = [test for file in files for group in file["tests"] for test in group.get("alert_rule_test", [])]
    names = {alert["alert"] for alert in alerts()}
    assert {test["alertname"] for test in tests if test["exp_alerts"]} == names
    assert {test["alertname"] for test in tests if not test["exp_alerts"]} == names


def silenced() -> Iterator[tuple[str, str]]:
    """Yield causes and consequences, as Alertmanager is told."""
    file = yaml.safe_load((DEPLOY / "prometheus" / "alertmanager.yml").read_text())
    for rule in file["inhibit_rules"]:
        [causes, consequences] = (
            re.findall(r"\w+", re.findall(r'alertname=~?"(.+?)"', ",".join(rule[side]))[0])
            for side in ("source_matchers", "target_matchers")
        )
        yield from product(causes, consequences)


def test_only_alerts_that_there_are_silence_each_other_and_none_in_a_circle() -> None:
    after: dict[str, set[str]] = {}
    for cause, consequence in silenced():
        assert {cause, consequence} <= {alert["alert"] for alert in alerts()}
        if cause != consequence:  # of another service
            after.setdefault(cause, set()).add(consequence)
    TopologicalSorter(after).prepare()  # raises CycleError: then both would be silent


def test_no_cause_silences_what_people_must_hear_whatever_the_cause() -> None:
    never = {"CompletenessHole", "FrontEndBlocking", "SpoolFilling", "ImsParked", "UnseenAttempts"}
    assert never.isdisjoint(consequence for _, consequence in silenced())


def test_what_tells_of_ims_that_wait_for_somebody_is_on_a_dashboard() -> None:
    shown = "\n".join(render_all().values())
    for alert in ("StateFolderUnusable", "SlotLeft", "SpoolFilling", "ImsParked", "MonthWithoutPartition"):
        [expr] = [each["expr"] for each in alerts() if each["alert"] == alert]
        assert {name for name in re.findall(r"\blcs_\w+", expr) if name not in shown} == set()


def test_every_figure_of_completeness_is_on_a_dashboard() -> None:
    shown = render_all()["lcs-policy.json"]
    assert {name for name in COMPLETENESS if f"lcs_completeness_{name}_ims" not in shown} == set()


def exported() -> set[str]:
    """Return the names of all metrics of our services."""
    for package in (admin_api, archiving, frontend, runtime):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if "__main__" not in module.name and ".migrations" not in module.name:
                import_module(module.name)
    return {metric.name for metric in REGISTRY.collect() if metric.name.startswith("lcs_")}


def test_every_metric_of_a_service_is_on_a_dashboard_or_in_an_alert() -> None:
    rules = [path.read_text() for path in (DEPLOY / "prometheus" / "rules").iterdir()]
    told = "\n".join([*render_all().values(), *rules])
    names = set(re.findall(r"\b(lcs_\w+?)(?:_total|_bucket|_sum|_count)?\b", told))
    assert len(exported()) > 40
    assert exported() - names == set()
