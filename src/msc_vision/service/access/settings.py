"""What a site decides about access: ages of passwords, keys and sessions, lock-out, signatures."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from msc_vision.decision.record import MEANINGS


class HashingSettings(BaseModel):
    """Cost of a password hash (argon2id); the defaults are those of RFC 9106 for little memory."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    time_cost: int = Field(3, ge=1, description="Passes over the memory.")
    memory_kib: int = Field(65536, ge=8, description="Memory of one hash, in KiB.")
    parallelism: int = Field(4, ge=1, description="Lanes of one hash.")
    n_at_once: int = Field(2, ge=1, description="Hashes computed at once; more wait, which bounds the memory.")


class AccessSettings(BaseModel):
    """Rules of log-in, keys and signatures."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    hashing: HashingSettings = Field(default_factory=HashingSettings, description="Cost of a password hash.")
    password_max_age_days: float | None = Field(None, gt=0, description="Age at which a password expires; none: never.")
    key_max_age_days: float | None = Field(365, gt=0, description="Age at which an API key expires; none: never.")
    session_max_age_h: float = Field(12, gt=0, description="Age at which a session ends, in hours: one shift.")
    session_idle_h: float = Field(1, gt=0, description="Time without a request after which a session ends, in hours.")
    n_free_failures: int = Field(4, ge=0, description="Wrong passwords in a row before the first delay.")
    first_delay_s: float = Field(2, gt=0, description="Delay after one failure more, in seconds; doubles with each.")
    max_delay_s: float = Field(900, gt=0, description="Longest delay, in seconds.")
    forget_failures_h: float = Field(24, gt=0, description="Failures older than this are forgotten, in hours.")
    cache_s: float = Field(2, ge=0, le=2, description="How long a checked key or session is trusted, in seconds.")
    touch_s: float = Field(60, ge=0, description="The last use of a key or session is written this often, in seconds.")
    n_signatures: Literal[1, 2] = Field(1, description="Signatures a decision needs; two are of two people.")
    meanings: tuple[str, ...] = Field(
        MEANINGS,
        min_length=1,
        description="What a signature may mean; the defaults are the examples of 21 CFR 11.50(a)(3).",
    )
