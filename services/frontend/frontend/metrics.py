"""Metrics of a front end. No label holds an address or content; all hold its name and its pool's."""

import math
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Final, Literal, get_args

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram, Metric

from contract.cdr import DISGUISED
from contract.message import seconds_ahead
from contract.sdp import UnseenKind

ANSWERED: Final = Counter(
    "lcs_frontend_answered_ims", "IMs by the status and rule of their answer", ["status", "rule"]
)
CONFIRMED: Final = Counter("lcs_frontend_confirmed_ims", "IMs that the broker has confirmed")
PENDING: Final = Gauge("lcs_frontend_pending_ims", "IMs that wait to be published")
PUBLISH_SIZE: Final = Histogram(
    "lcs_frontend_publish_size_ims", "IMs in an AMQP message", buckets=(1, 2, 5, 10, 25, 50, 100, 250, 500)
)
CONFIRM_SECONDS: Final = Histogram(
    "lcs_frontend_confirm_seconds",
    "From publishing an AMQP message to its confirm",
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2),
)
CDR_LOST: Final = Counter(
    "lcs_frontend_cdr_lost_activities",
    "Activities that no call detail record has: the broker was away too long",
)
NOTICES_WAITING: Final = Gauge(
    "lcs_frontend_notices_waiting", "IMs of which the admin API does not know yet to whom notices were given"
)
NOTICES_LOST: Final = Counter(
    "lcs_frontend_notices_lost", "IMs of which it never will: it refuses that, or was away too long"
)
ATTEMPTS: Final = Counter(
    "lcs_frontend_unseen_attempts",
    "Requests that offer what would be said past the archive, or say something under the name of a notice",
    ["kind"],
)
for _kind in (*get_args(UnseenKind), DISGUISED):
    ATTEMPTS.labels(_kind)
FORGED: Final = Counter(
    "lcs_frontend_forged_vouchers", "Vouchers that we did not give, or too old, by their header", ["header"]
)
POLICY_VERSION: Final = Gauge(
    "lcs_frontend_policy_version", "Version of the policy that decides; 0: none, everything is archived"
)
POLICY_CONFIRMED: Final = Gauge(
    "lcs_frontend_policy_confirmed_timestamp_seconds",
    "When the admin API last confirmed that the policy counts; 0: never, or there is none to ask",
)
BROKER_CONNECTED: Final = Gauge("lcs_frontend_broker_connected", "1 while the broker takes IMs")
STATE: Final = Gauge("lcs_frontend_state", "1 for the present state, 0 for the others", ["state"])
SPOOL_IMS: Final = Gauge("lcs_frontend_spool_ims", "IMs on this front end's disk that wait for the broker")
SPOOL_BYTES: Final = Gauge("lcs_frontend_spool_bytes", "Their bytes")
SPOOL_MAX_BYTES: Final = Gauge("lcs_frontend_spool_max_bytes", "Bytes it may have")
SPOOL_OLDEST: Final = Gauge(
    "lcs_frontend_spool_oldest_timestamp_seconds", "When the oldest of them was sent; 0: there is none"
)
SPOOLED: Final = Counter("lcs_frontend_spooled_ims", "IMs written to the spool")
DRAINED: Final = Counter("lcs_frontend_drained_ims", "IMs of the spool that the broker has confirmed")
DISK_TROUBLE: Final = Gauge(
    "lcs_frontend_disk_trouble", "1 while this front end can't keep on its disk what must outlive it"
)
LEFT_SLOTS: Final = Gauge(
    "lcs_frontend_left_slots", "Slots of the state folder that a person must look after, by why", ["why"]
)
_IDS_AHEAD: Final = Gauge(
    "lcs_frontend_ids_ahead_seconds", "How far the time in new ids is ahead of the clock, which was set back"
)
_IDS_AHEAD.set_function(seconds_ahead)
_DISK_FREE: Final = Gauge("lcs_frontend_disk_free_bytes", "Free on the disk with policy and spool")
_DISK_SIZE: Final = Gauge("lcs_frontend_disk_size_bytes", "Size of this disk")


def watch_disk(state_dir: Path) -> None:
    """Tell of the disk of a folder; not a number while there is none."""
    _DISK_FREE.set_function(lambda: _usage(state_dir, "free"))
    _DISK_SIZE.set_function(lambda: _usage(state_dir, "total"))


def _usage(folder: Path, which: Literal["free", "total"]) -> float:
    try:
        usage = shutil.disk_usage(folder)
    except OSError:
        return math.nan
    return usage.free if which == "free" else usage.total


class NamedFigures(CollectorRegistry):
    """All metrics, each with the labels of this front end and its pool.

    A separate info series would have to be joined on the address, and two front ends may use one address one
    after the other.
    """

    def __init__(self, pool: str, front_end: str) -> None:
        """Both as in the settings."""
        super().__init__()
        self._labels = {"pool": pool, "front_end": front_end}

    def collect(self) -> Iterable[Metric]:
        """See ``prometheus_client.CollectorRegistry``."""
        for metric in REGISTRY.collect():
            metric.samples = [
                sample._replace(labels=sample.labels | self._labels) for sample in metric.samples
            ]
            yield metric
