"""Settings of the admin API and its commands."""

from pathlib import Path
from typing import Literal

from pydantic import Field

from runtime.broker import BrokerUrl
from runtime.settings import ServiceSettings


class MigrationSettings(ServiceSettings):
    """Settings of ``python -m admin_api migrate``."""

    database_url: str
    """The schema owner's: ``postgresql://lcs_owner:…@host/lcslog``."""


class CompletenessSettings(ServiceSettings):
    """Settings of ``python -m admin_api completeness``."""

    database_url: str
    """``postgresql://lcs_admin:…@host/lcslog``"""


class AdminSettings(CompletenessSettings):
    """Settings of the service."""

    amqp_url: BrokerUrl
    """``amqp://admin-api:…@host1,host2/lcs``; only announcements go there, all else works without it."""
    principals_file: Path
    """A JSON list of ``runtime.token.Principal``: the people and front ends that may use the API."""
    host: str = "127.0.0.1"
    port: int = Field(default=8081, ge=0, le=65_535)
    search_seconds: float = Field(default=10, gt=0, le=25)
    """Seconds that a search of the archive may take."""
    bulk_bytes: int = Field(default=256 << 20, ge=1)
    """Bytes of a bulk change of users, at most. It waits on disk, in the system's temporary folder."""
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
