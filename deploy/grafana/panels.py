"""Panels of the dashboards: graphs and figures over queries of Prometheus."""

import re
from collections.abc import Iterable, Mapping
from typing import Final

from grafana_foundation_sdk.builders import common, dashboard, prometheus, stat, timeseries
from grafana_foundation_sdk.models import common as common_model
from grafana_foundation_sdk.models import dashboard as model

DATA_SOURCE: Final = "lcs-prometheus"
"""As deploy/grafana/provisioning/datasources/prometheus.yml calls it."""
_HUGE: Final = 1e15
"""Grafana maps ranges of values: from here on a value counts as infinite."""
_CHOSEN: Final = 'pool=~"$pool", front_end=~"$front_end"'

ARCHIVED_IMS: Final = 'lcs_frontend_answered_ims_total{status=~"201|202"}'

_source: Final = model.DataSourceRef(type_val="prometheus", uid=DATA_SOURCE)


def of_front_ends(expr: str) -> str:
    """Return an expression over front ends' metrics, narrowed to those chosen."""
    return re.sub(
        r"\b(lcs_frontend_\w+)(?:{(.*?)})?",
        lambda found: f"{found[1]}{{{_CHOSEN}{', ' + found[2] if found[2] else ''}}}",
        expr,
    )


def rate(counter: str) -> str:
    """Return the rate of a counter, over all that count it."""
    return f"sum(rate({counter}[$__rate_interval]))"


def rate_of_front_ends(counter: str, by: str = "") -> str:
    """Return the rate of a counter of the chosen front ends; ``by``: a label to tell them apart."""
    expr = of_front_ends(f"rate({counter}[$__rate_interval])")
    return f"sum by ({by}) ({expr})" if by else f"sum({expr})"


def quantile(share: float, histogram: str, by: str = "") -> str:
    """Return a quantile of a histogram over the last moments; ``by``: a further label."""
    labels = f"le, {by}" if by else "le"
    return f"histogram_quantile({share}, sum by ({labels}) (rate({histogram}_bucket[$__rate_interval])))"


def graph(
    title: str, description: str, queries: Mapping[str, str], *, unit: str = "short", width: int = 12,
    height: int = 8, stacked: bool = False,
) -> timeseries.Panel:  # fmt: skip
    """Return lines over time; ``queries``: expressions by the names of their lines."""
    panel = timeseries.Panel().title(title).description(description).datasource(_source)
    panel = panel.unit(unit).min(0).span(width).height(height).fill_opacity(30 if stacked else 8)
    panel = panel.legend(
        common.VizLegendOptions()
        .display_mode(common_model.LegendDisplayMode.LIST)
        .placement(common_model.LegendPlacement.BOTTOM)
        .show_legend(True)
    )
    if stacked:
        panel = panel.stacking(common.StackingConfig().mode(common_model.StackingMode.NORMAL))
    for target in _targets(queries):
        panel = panel.with_target(target)
    return panel


def figure(
    title: str, description: str, expr: str, *, unit: str = "short", width: int = 4, height: int = 4,
    bad_from: float | None = None, infinite: str = "", at: tuple[int, int] | None = None,
) -> stat.Panel:  # fmt: skip
    """Return the present value, red from ``bad_from`` on; ``at``: x and y, else beside the panel before.

    ``infinite``: the text in place of an infinite value.
    """
    steps = [model.Threshold(value=None, color="green")]
    if bad_from is not None:
        steps.append(model.Threshold(value=bad_from, color="red"))
    thresholds = dashboard.ThresholdsConfig().mode(model.ThresholdsMode.ABSOLUTE).steps(steps)
    panel = stat.Panel().title(title).description(description).datasource(_source)
    panel = panel.unit(unit).no_value("none").thresholds(thresholds)
    if infinite:
        result = model.ValueMappingResult(text=infinite)
        panel = panel.mappings([model.RangeMap(model.DashboardRangeMapOptions(_HUGE, None, result))])
    x, y = at or (0, 0)  # the library places what has no place
    panel = panel.grid_pos(model.GridPos(h=height, w=width, x=x, y=y))
    return panel.with_target(prometheus.Dataquery().expr(expr).instant().ref_id("A"))


def _targets(queries: Mapping[str, str]) -> Iterable[prometheus.Dataquery]:
    for letter, (legend, expr) in zip("ABCDEFGH", queries.items(), strict=False):
        yield prometheus.Dataquery().expr(expr).legend_format(legend).range().ref_id(letter)


def row(title: str) -> dashboard.Row:
    """Return the heading of the panels that follow."""
    return dashboard.Row(title)


def board(uid: str, title: str, description: str) -> dashboard.Dashboard:
    """Return an empty dashboard, from which one pool or front end can be chosen."""
    return (
        dashboard.Dashboard(title)
        .uid(uid)
        .description(description)
        .tags(["lcs-archive"])
        .readonly()
        .refresh("5s")
        .time("now-30m", "now")
        .timezone("browser")
        .tooltip(model.DashboardCursorSync.CROSSHAIR)
        .with_variable(_variable("pool", "Pool", "label_values(lcs_frontend_policy_version, pool)"))
        .with_variable(
            _variable(
                "front_end",
                "Front end",
                'label_values(lcs_frontend_policy_version{pool=~"$pool"}, front_end)',
            )
        )
        .link(
            dashboard.DashboardLink("LCS Archive")
            .type(model.DashboardLinkType.DASHBOARDS)
            .tags(["lcs-archive"])
            .as_dropdown(True)
            .keep_time(True)
            .include_vars(True)
        )
    )


def _variable(name: str, label: str, query: str) -> dashboard.QueryVariable:
    return (
        dashboard.QueryVariable(name)
        .label(label)
        .datasource(_source)
        .query(query)
        .refresh(model.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(model.VariableSort.ALPHABETICAL_ASC)
        .multi(True)
        .include_all(True)
        .all_value(".*")
        .current(model.VariableOption(text="All", value="$__all", selected=True))
    )
