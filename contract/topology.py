"""The broker's exchanges and queues as data; deploy/rabbitmq/definitions.json declares them."""

from typing import Final

VHOST: Final = "lcs"

INGEST_EXCHANGE: Final = "lcs.ingest"
"""Direct: front ends publish IMs here, routing key ``lcslog``."""
PARK_EXCHANGE: Final = "lcs.park"
"""Direct: messages that the broker gives up (delivered too often) go here, routing key ``lcslog``."""
POLICY_EXCHANGE: Final = "lcs.policy"
"""Fanout: the admin API tells front ends that the policy has a new version (the body: its number)."""
CDR_EXCHANGE: Final = "lcs.cdr"
"""Direct: call detail records, apart from content."""

QUEUE: Final = "lcslog"
PARKED_QUEUE: Final = "lcslog.parked"
CDR_QUEUE: Final = "lcscdr"
