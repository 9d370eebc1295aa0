"""What a measured figure is: its name, unit, meaning, formula and source, in the code that measures it."""

from dataclasses import dataclass
from typing import Literal

FeatureOf = Literal["cell", "aggregate", "field"]


@dataclass(frozen=True, slots=True)
class Feature:
    """One figure that is measured.

    Attributes
    ----------
    name : str
        Column that it has in the run folder, with its unit.
    of : {"cell", "aggregate", "field"}
        What it is measured on.
    unit : str
        ``µm``, ``µm²``, ``1/mm²``, ``degrees``, ``percent``; ``1`` for a pure number.
    meaning : str
        What it tells a biologist, in one sentence.
    formula : str
        How it is computed, in words or symbols.
    source : str
        Where the definition comes from; ``own`` where it is ours.
    """

    name: str
    of: FeatureOf
    unit: str
    meaning: str
    formula: str
    source: str
