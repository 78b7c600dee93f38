"""Settings: one typed class per service, from the environment or from files."""

import os
import sys
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict


class ServiceSettings(BaseSettings):
    """Settings of a service, read once at its start.

    A field ``amqp_url`` is read from ``LCS_AMQP_URL``, else from the file ``lcs_amqp_url`` in the folder
    that ``LCS_SECRETS_DIR`` names.
    """

    model_config = SettingsConfigDict(env_prefix="LCS_", extra="ignore", frozen=True)


Settings = TypeVar("Settings", bound=ServiceSettings)


def load_settings(cls: type[Settings]) -> Settings:
    """Return a service's settings; a bad or missing value ends the process with one clear line each."""
    folder = os.environ.get("LCS_SECRETS_DIR")
    if folder is not None and not Path(folder).is_dir():
        sys.exit(f"LCS_SECRETS_DIR: there is no folder {folder}")
    try:
        return cls(_secrets_dir=folder)
    except ValidationError as error:
        lines = [f"LCS_{'_'.join(map(str, e['loc'])).upper()}: {e['msg']}" for e in error.errors()]
        sys.exit("\n".join(lines))
