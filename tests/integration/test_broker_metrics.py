"""RabbitMQ tells what the dashboards and rules ask for: here Debian's own, in tests/e2e the image's."""

import re
from pathlib import Path

import httpx

from deploy.grafana.boards import render_all
from deploy.local.process import wait_for
from tests.conftest import Vhost
from tests.integration.archiving_service import make_ims, publish

RULES = Path(__file__).parent.parent.parent / "deploy" / "prometheus" / "rules"


def test_every_metric_of_rabbitmq_that_is_asked_for_is_told(vhost: Vhost) -> None:
    asked = "\n".join([*render_all().values(), *(path.read_text() for path in RULES.iterdir())])
    names = set(re.findall(r"\brabbitmq_\w+", asked)) - {"rabbitmq_alarms_"}
    assert len(names) > 5
    url = f"http://127.0.0.1:{vhost.broker.prometheus_port}/metrics"
    families = {"vhost": vhost.name, "family": ["queue_coarse_metrics", "queue_consumer_count"]}
    publish(vhost, make_ims(3))

    def told() -> str:
        texts = [httpx.get(url, trust_env=False).text]
        texts.append(httpx.get(f"{url}/detailed", params=families, trust_env=False).text)
        return "".join(texts)

    def missing() -> set[str]:
        return names - set(re.findall(r"^(rabbitmq_\w+)", told(), re.MULTILINE))

    wait_for(lambda: not missing(), "the metrics of a queue", seconds=15)
    assert re.search(r"^rabbitmq_alarms_memory_used_watermark 0", told(), re.MULTILINE)
    ready = rf'^rabbitmq_detailed_queue_messages_ready{{vhost="{vhost.name}",queue="lcslog"}} 1'
    wait_for(lambda: re.search(ready, told(), re.MULTILINE) is not None, "the message to be counted")
