"""Settings: typed, frozen, from the environment (`CASHUP_…`, nested with two underscores) and `cashup.toml`.

The environment wins over the file. Secrets are masked when printed. What is not listed here is not a setting.
"""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, TomlConfigSettingsSource


class Settings(BaseSettings):
    """Everything that can be set from outside."""

    model_config = SettingsConfigDict(
        env_prefix="CASHUP_", env_nested_delimiter="__", toml_file="cashup.toml", frozen=True, extra="ignore"
    )

    home: Path = Field(Path(".cashup"), description="where state lives: databases, keys, the lake, run records, logs")
    lake: str | None = Field(
        None, description="the lake: a folder or an address such as s3://bucket/lake; default `lake` under the home"
    )
    database_url: SecretStr | None = Field(None, description="a PostgreSQL server; default an embedded one")
    redis_url: SecretStr | None = Field(None, description="a Redis server; default an embedded one")
    host: str = Field("127.0.0.1", description="the address the gateway and the pages listen on")
    port: int = Field(8700, description="the gateway's port")
    dashboard_port: int = Field(8701, description="the dashboards' port")
    lab_port: int = Field(8702, description="JupyterLab's port")
    simulator_port: int = Field(8703, description="the simulator's port")
    gateway_url: str | None = Field(None, description="where clients find the gateway; default from host and port")
    warm: bool = Field(True, description="fork kernels and backtests from a process that has everything imported")
    run_days: int = Field(400, ge=1, description="how many days the executed notebooks of live runs are kept")
    sandbox: Literal["auto", "off", "require"] = Field(
        "auto", description="shut workers' notebooks in as far as the system can; `require`: or do not start them"
    )
    token: SecretStr | None = Field(None, description="an access token, instead of the saved login")
    token_file: Path | None = Field(None, description="a file with an access token, read again when it is refused")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments, then environment, then the project's `cashup.toml`."""
        toml = TomlConfigSettingsSource(settings_cls, toml_file=project_root() / "cashup.toml")
        return init_settings, env_settings, toml

    @property
    def home_path(self) -> Path:
        """The home as an absolute path."""
        return _absolute(self.home, "CASHUP_HOME")

    @property
    def lake_path(self) -> Path | str:
        """The folder of the lake as an absolute path, or its address in an object store as it was given."""
        if self.lake and "://" in self.lake:
            return self.lake
        return _absolute(Path(self.lake), "CASHUP_LAKE") if self.lake else self.home_path / "lake"

    @property
    def versions_path(self) -> Path:
        """The folder of the frozen versions."""
        return self.home_path / "versions"

    @property
    def gateway(self) -> str:
        """The base address of the gateway's API, without a trailing slash."""
        return (self.gateway_url or f"http://{self.host}:{self.port}").rstrip("/")


def project_root() -> Path:
    """The nearest folder, from the working directory upwards, that holds `.cashup`, `cashup.toml` or `pyproject.toml`.

    A notebook's working directory is its own folder, and it shall find the project's lake. Without any of them the
    working directory is the project.
    """
    here = Path.cwd()
    for folder in (here, *here.parents):
        if any((folder / marker).exists() for marker in (".cashup", "cashup.toml", "pyproject.toml")):
            return folder
    return here


def _absolute(path: Path, variable: str) -> Path:
    """`path` seen from the working directory when the environment named it, otherwise from the project."""
    base = Path.cwd() if variable in os.environ else project_root()
    return (base / path.expanduser()).resolve()


@cache
def load_settings() -> Settings:
    """The settings of this process, read once."""
    return Settings()
