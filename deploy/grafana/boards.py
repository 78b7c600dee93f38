"""The dashboards, as the files that Grafana reads."""

from pathlib import Path
from typing import Final

from grafana_foundation_sdk.cog.encoder import JSONEncoder

from deploy.grafana.overview import overview
from deploy.grafana.pipeline import pipeline
from deploy.grafana.policy import policy

FOLDER: Final = Path(__file__).parent / "dashboards"


def render_all() -> dict[str, str]:
    """Return the dashboards' JSON by the name of its file."""
    files = {}
    for make in (overview, pipeline, policy):
        built = make().build()
        files[f"{built.uid}.json"] = JSONEncoder(sort_keys=True, indent=2).encode(built) + "\n"
    return files
