"""The settings of a front end."""

import socket
from pathlib import Path
from typing import Final, Literal

from pydantic import Field, HttpUrl

from contract.broker_users import SEPARATOR
from runtime.broker import BrokerUrl
from runtime.settings import ServiceSettings

_DECADE: Final = 10 * 365 * 86_400


class FrontEndSettings(ServiceSettings):
    """Settings of a front end."""

    amqp_url: BrokerUrl
    """``amqp://frontend~pool1:…@host1,host2/lcs``"""
    connectors_file: Path
    """JSON list of the chat systems that may hand us IMs: ``runtime.token.Connector``."""
    admin_api_url: HttpUrl | None = None
    """Where the policy comes from; without it the last snapshot in ``state_dir`` counts, however old."""
    admin_api_token: str = ""
    policy_max_age_seconds: float = Field(default=86_400, ge=10, le=_DECADE)
    """How long a policy counts that the admin API doesn't confirm; from then on everything is archived."""
    state_dir: Path = Path("state")
    """Folder of all that outlives the process: the last policy, the spool. Front ends may share it: each
    takes a slot."""
    pool: str = Field(default="pool1", min_length=1, max_length=64, pattern=f"^[^{SEPARATOR}]*$")
    """Stands in the name of the broker's user: see ``contract.broker_users``."""
    front_end: str = Field(default_factory=socket.gethostname, min_length=1, max_length=64)
    """This front end's name."""
    host: str = "127.0.0.1"
    port: int = Field(default=8080, ge=0, le=65_535)
    deadline_seconds: float = Field(default=2, gt=0, le=60)
    """An IM that must be archived and isn't confirmed by then is spooled, or answered 503."""
    max_body_bytes: int = Field(default=65_536, ge=1)
    """Bytes of an IM's content."""
    max_im_bytes: int = Field(default=262_144, ge=1024)
    """Bytes of one IM as JSON: a request's body, or a line of a stream."""
    max_recipients: int = Field(default=500, ge=1)
    clock_ahead_seconds: float = Field(default=300, ge=0, le=_DECADE)
    """How far an IM's time may lie in the future."""
    clock_behind_seconds: float = Field(default=7 * 86_400, ge=0, le=_DECADE)
    """How far an IM's time may lie in the past."""
    max_pending: int = Field(default=20_000, ge=1)
    """IMs that wait for the broker, at most; one more is answered 503 at once. Of several connectors one may
    bring half of them, and each has an equal share of the other half."""
    max_pending_bytes: int = Field(default=64 << 20, ge=1)
    """Of these, likewise."""
    publish_ims: int = Field(default=1000, ge=1)
    """IMs in an AMQP message, at most."""
    publish_bytes: int = Field(default=524_288, ge=1024)
    """Bytes of IMs' content in an AMQP message, about."""
    remembered_ids: int = Field(default=100_000, ge=0)
    """Ids brought by callers that are remembered, to answer a retry without archiving it again."""
    spool_max_bytes: int = Field(default=1 << 30, ge=1024)
    """Bytes of IMs in the spool, at most; then a pool that isn't critical blocks as well."""
    otlp_endpoint: HttpUrl | None = None
    """An OpenTelemetry collector (OTLP over HTTP): ``http://collector:4318``; else nothing is exported."""
    trace_ratio: float = Field(default=0.01, ge=0, le=1)
    """Which part of the IMs is exported, if their sender does not say."""
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
