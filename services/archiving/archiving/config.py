"""What the archiving service is told at start."""

from typing import Literal

from pydantic import Field

from contract.settings import ServiceSettings


class MigrationSettings(ServiceSettings):
    """Settings of ``python -m archiving migrate``."""

    database_url: str
    """Of the schema's owner: ``postgresql://lcs_owner:…@host/lcslog``."""


class ReplaySettings(ServiceSettings):
    """Settings of ``python -m archiving replay``."""

    amqp_url: str
    """Of the user ``replay``."""
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"


class WorkerSettings(ServiceSettings):
    """Settings of the worker."""

    amqp_url: str
    """``amqp://archiving:…@host/lcs``"""
    database_url: str
    """``postgresql://lcs_archiving:…@host/lcslog``"""
    batch_size: int = Field(default=2000, ge=1, le=100_000)
    """IMs in a transaction, at most (a last AMQP message may bring some more)."""
    batch_milliseconds: float = Field(default=5, ge=0, le=1000)
    """How long a batch that isn't full waits for more."""
    prefetch: int = Field(default=300, ge=1, le=65_535)
    """AMQP messages on their way to us that are not acknowledged; each carries up to 500 IMs."""
    host: str = "127.0.0.1"
    port: int = Field(default=8082, ge=0, le=65_535)
    """Where /healthz, /readyz and /metrics are served."""
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
