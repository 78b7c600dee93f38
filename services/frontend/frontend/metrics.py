"""What a front end counts."""

from typing import Final

from prometheus_client import Counter, Gauge, Histogram

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
POLICY_VERSION: Final = Gauge("lcs_frontend_policy_version", "Version of the policy that decides; 0: none")
