"""What a site decides about its service: one YAML file, or the defaults."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from msc_vision.errors import InvalidArgumentError

MIB = 1024 * 1024
GIB = 1024 * MIB


class Part(BaseModel):
    """A frozen part of the settings that knows no unknown key."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Limits(Part):
    """How much one request, one caller and one upload may ask of the service."""

    body_bytes: int = Field(MIB, ge=1024, description="largest body of a request, but for uploads")
    header_bytes: int = Field(16 * 1024, ge=1024, description="all headers of a request together")
    upload_bytes: int = Field(2 * GIB, ge=1024, description="largest zip of a run that may be uploaded")
    unpacked_bytes: int = Field(20 * GIB, ge=1024, description="all files of an uploaded zip together, unpacked")
    unpacked_files: int = Field(100_000, ge=1, description="most files in an uploaded zip")
    unpacked_ratio: float = Field(
        200.0, gt=1, description="unpacked over packed bytes of an upload; more is taken for a zip bomb"
    )
    requests_per_s: float = Field(400.0, gt=0, description="requests of one principal, in the long run")
    request_burst: int = Field(800, ge=1, description="requests of one principal at once")
    anonymous_per_s: float = Field(5.0, gt=0, description="requests without valid credentials of one address")
    anonymous_burst: int = Field(40, ge=1, description="requests without valid credentials of one address at once")
    noted_refusals_per_min: int = Field(
        120,
        ge=1,
        description="refusals written one by one to the audit log; beyond that they are counted and summed up",
    )


class Jobs(Part):
    """How scoring jobs are run beside the service."""

    workers: int = Field(1, ge=0, le=64, description="jobs at once in this process; 0: this process scores nothing")
    cores: int | None = Field(None, ge=1, description="cores of one job; none: all but one")
    poll_s: float = Field(1.0, gt=0, le=60, description="how often the queue and the progress are looked at")
    grace_s: float = Field(20.0, gt=0, description="time that a cancelled job has to stop by itself")
    stale_s: float = Field(60.0, gt=0, description="a running job without sign of life for so long is begun again")
    attempts: int = Field(3, ge=1, description="how often a job whose process was killed is begun")


class Webhooks(Part):
    """How events are sent to other systems."""

    timeout_s: float = Field(10.0, gt=0, le=120, description="for one delivery")
    first_delay_s: float = Field(5.0, gt=0, description="before the second try; it doubles from then on")
    longest_delay_s: float = Field(4 * 3600.0, gt=0, description="between two tries")
    give_up_h: float = Field(24.0, gt=0, description="a delivery that did not succeed in that time is given up")
    allow_http: bool = Field(False, description="true: also addresses without TLS")
    allow_private: bool = Field(False, description="true: also addresses in private networks and on this machine")


class ServiceSettings(Part):
    """Settings of ``msc-vision serve``."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, validate_default=True)

    database: str | None = Field(None, description="URL of the store; none: the default of `msc-vision store`")
    roots: tuple[Path, ...] = Field(
        (), description="folders that requests may name images and runs in; read only; nothing else is ever read"
    )
    runs_folder: Path = Field(Path("runs"), description="where scored and uploaded runs go")
    rules_folders: tuple[Path, ...] = Field(
        (), description="folders with rule sets of the site, beside those that ship"
    )
    purpose: Literal["production", "trial"] = Field(
        "production", description="trial: draft rule sets may give GO, and records say that they are of a trial"
    )
    n_signatures: Literal[1, 2] = Field(1, description="signatures that a decision needs; 2: of two people")
    session_h: float = Field(12.0, gt=0, le=168, description="longest time that somebody stays logged in")
    session_idle_h: float = Field(1.0, gt=0, le=168, description="time without a request that ends a session")
    idempotency_h: float = Field(24.0, gt=0, le=720, description="how long answers are kept for repeated requests")
    trusted_hosts: tuple[str, ...] = Field(
        ("localhost", "127.0.0.1", "[::1]"), description="names that the service is called by; *: any"
    )
    behind_proxy: bool = Field(False, description="true: a proxy ends TLS and states the caller's address")
    proxy_addresses: tuple[str, ...] = Field(("127.0.0.1", "::1"), description="where that proxy calls from")
    metrics_need_scope: bool = Field(True, description="false: /metrics answers callers on this machine without a key")
    evidence_cached: int = Field(64, ge=1, description="vessels whose evidence is kept in memory")
    growth_prior: Path | None = Field(None, description="how the bank grows, as `msc-vision growth-prior` writes it")
    limits: Limits = Limits()
    jobs: Jobs = Jobs()
    webhooks: Webhooks = Webhooks()

    @field_validator("roots", "rules_folders", "runs_folder")
    @classmethod
    def _absolute(cls, value: Any) -> Any:
        return value.resolve() if isinstance(value, Path) else tuple(one.resolve() for one in value)


def load_settings(path: Path | None, changes: Mapping[str, Any] | None = None) -> ServiceSettings:
    """Return the settings of a YAML file, with some of them replaced.

    Raises
    ------
    InvalidArgumentError
        If the file cannot be read, or a key or value is not known; all complaints are in the message.
    """
    content: Any = {}
    if path is not None:
        try:
            content = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as err:
            raise InvalidArgumentError(f"{path}: cannot be read: {' '.join(str(err).split())}.") from err
    if not isinstance(content, dict):
        raise InvalidArgumentError(f"{path}: settings are keys and values, not a {type(content).__name__}.")
    try:
        return ServiceSettings.model_validate({**content, **(changes or {})})
    except ValidationError as err:
        where = "settings" if path is None else str(path)
        lines = (f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in err.errors())
        raise InvalidArgumentError(f"{where}: {'; '.join(lines)}.") from err
