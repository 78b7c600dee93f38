"""What the admin API is told at start."""

from pathlib import Path
from typing import Literal

from pydantic import Field

from runtime.broker import BrokerUrl
from runtime.settings import ServiceSettings


class MigrationSettings(ServiceSettings):
    """Settings of ``python -m admin_api migrate``."""

    database_url: str
    """Of the schema's owner: ``postgresql://lcs_owner:…@host/lcslog``."""


class CompletenessSettings(ServiceSettings):
    """Settings of ``python -m admin_api completeness``."""

    database_url: str
    """``postgresql://lcs_admin:…@host/lcslog``"""


class AdminSettings(CompletenessSettings):
    """Settings of the service."""

    amqp_url: BrokerUrl
    """``amqp://admin-api:…@host1,host2/lcs``; only notices go there, everything else works without it."""
    principals_file: Path
    """Who may use the API: a JSON list of ``runtime.token.Principal``."""
    host: str = "127.0.0.1"
    port: int = Field(default=8081, ge=0, le=65_535)
    search_seconds: float = Field(default=10, gt=0, le=25)
    """How long a search of the archive may take before it is given up."""
    bulk_bytes: int = Field(default=256 << 20, ge=1)
    """Bytes of a bulk change of users, at most; it waits on disk, in the system's temporary folder."""
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
