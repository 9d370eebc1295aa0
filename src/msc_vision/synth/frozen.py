"""Base of all settings of the simulator."""

from pydantic import BaseModel, ConfigDict


class FrozenModel(BaseModel):
    """A record that cannot be changed and knows all of its keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")
