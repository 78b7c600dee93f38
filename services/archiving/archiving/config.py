"""Settings of the archiving service."""

from typing import Literal

from pydantic import Field, HttpUrl

from archiving.senders import Senders
from runtime.broker import BrokerUrl
from runtime.settings import ServiceSettings


class MigrationSettings(ServiceSettings):
    """Settings of ``python -m archiving migrate``."""

    database_url: str
    """Of the schema's owner: ``postgresql://lcs_owner:…@host/lcslog``."""


class StoreSettings(ServiceSettings):
    """Settings of commands without a broker: ``python -m archiving replay``, and a trial."""

    database_url: str
    """``postgresql://lcs_archiving:…@host/lcslog``"""
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    front_end_users: dict[str, str] = Field(default_factory=dict)
    """The broker's users of front ends that are named otherwise than after their pool, each with its pool."""
    trust_anonymous: bool = False
    """Accept messages without a user, as earlier front ends sent them; else they are parked."""

    @property
    def senders(self) -> Senders:
        """The broker's users that may send, by these settings."""
        return Senders(self.front_end_users, trust_anonymous=self.trust_anonymous)


class ConsumerSettings(StoreSettings):
    """Settings of a worker of either kind."""

    amqp_url: BrokerUrl
    """``amqp://archiving:…@host1,host2/lcs``"""
    host: str = "127.0.0.1"
    port: int = Field(default=8082, ge=0, le=65_535)
    """Where /healthz, /readyz and /metrics are served."""
    channel_seconds: float = Field(default=30, ge=1, le=3600)
    """Seconds to the next channel: messages that a damaged queue counts as delivered come again then."""


class CDRSettings(ConsumerSettings):
    """Settings of ``python -m archiving cdr``."""

    cdr_idle_seconds: float = Field(default=1800, ge=1, le=86_400)
    """After so long without a message, single messages between the same people are another session."""


class WorkerSettings(ConsumerSettings):
    """Settings of the worker."""

    batch_size: int = Field(default=2000, ge=1, le=100_000)
    """IMs in a transaction, at most (a last AMQP message may bring some more)."""
    batch_milliseconds: float = Field(default=5, ge=0, le=1000)
    """How long a batch that isn't full waits for more."""
    prefetch: int = Field(default=300, ge=1, le=65_535)
    """AMQP messages of a queue on their way to us that are not acknowledged; each carries up to 1,000 IMs."""
    trace_days: int = Field(default=30, ge=1)
    """Days for which the archive keeps its journal: by which publish and batch each IM came."""
    otlp_endpoint: HttpUrl | None = None
    """An OpenTelemetry collector (OTLP over HTTP): ``http://collector:4318``; else nothing is exported."""
