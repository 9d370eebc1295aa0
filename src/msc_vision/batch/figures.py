"""Every figure of a run from the scores of its fields, with what did not change kept at hand.

The same functions make the figures of a new run. Each answer is kept beside what it was asked of, so that one changed
field costs its layer, its vessel and its batch, and the result is that of doing everything again, to the last bit.
"""

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import partial
from typing import Any, TypeVar

from msc_vision.errors import InvalidDataError
from msc_vision.morphology.drift import Drift
from msc_vision.statistics.amounts import LayerAmount, intervals_of, layer_amounts, told, vessel_amounts
from msc_vision.statistics.character import (
    Character,
    Characters,
    Yardsticks,
    character_of,
    drift_of,
    suddenly_hazy,
)
from msc_vision.statistics.rollup import LayerEstimate, LayerPlace, ScoredField, check_field, estimate_layer
from msc_vision.statistics.settings import SamplingSettings
from msc_vision.statistics.time_points import earlier_keys, latest_keys
from msc_vision.statistics.vessel_rollup import (
    BatchEstimate,
    VesselEstimate,
    batch_estimates,
    batches_of,
    vessel_estimates,
)
from msc_vision.vessels import Catalogue, VesselType

T = TypeVar("T")
_KEPT = 4
"""Answers kept of each question: before an edit, after it, undone, done again."""
_NONE: frozenset[str] = frozenset()  # what is kept is known by its objects, so it has to be this one
_COMPARED = tuple(one.name for one in fields(Character) if one.name.startswith(("drift_", "spread_")))


@dataclass(frozen=True, slots=True)
class RunFigures:
    """Every figure of a run at one moment of its review.

    Attributes
    ----------
    fields : mapping of str to ScoredField
        By key, in the order of the manifest.
    vessels : tuple of VesselEstimate
        Each with its layers.
    batches : tuple of BatchEstimate
    characters : Characters
    """

    fields: Mapping[str, ScoredField]
    vessels: tuple[VesselEstimate, ...]
    batches: tuple[BatchEstimate, ...]
    characters: Characters

    def vessel(self, vessel_id: str) -> VesselEstimate:
        """Return the estimate of one vessel."""
        return next(one for one in self.vessels if one.vessel_id == vessel_id)


@dataclass(frozen=True, slots=True)
class FigureSettings:
    """What turns scores into figures, beside the scores.

    Attributes
    ----------
    catalogue : Catalogue
    optics_profile : str
    sampling : SamplingSettings
    pipeline_sha256 : str
        Of the recipe that the fields were scored with.
    yardsticks : Yardsticks
    """

    catalogue: Catalogue
    optics_profile: str
    sampling: SamplingSettings
    pipeline_sha256: str
    yardsticks: Yardsticks


@dataclass(frozen=True, slots=True)
class Compared:
    """What a run said of drift, where the baseline that it was compared with is not at hand.

    Attributes
    ----------
    fields : mapping of str to ScoredField
        As the run scored them: what was said holds as long as they are those.
    characters : Characters
    reason : str
        Why nothing is said of fields that changed since.
    """

    fields: Mapping[str, ScoredField]
    characters: Characters
    reason: str


class _Kept:
    """The last answers to each question, by the very objects that it was asked of."""

    def __init__(self) -> None:
        self._answers: dict[Hashable, list[tuple[tuple[object, ...], Any]]] = {}

    def get(self, question: Hashable, asked_of: tuple[object, ...], answer: Callable[[], T]) -> T:
        known = self._answers.setdefault(question, [])
        for i, (before, found) in enumerate(known):
            if len(before) == len(asked_of) and all(a is b for a, b in zip(before, asked_of, strict=True)):
                known.append(known.pop(i))
                return found
        made = answer()
        known.append((asked_of, made))
        del known[:-_KEPT]
        return made


class _Stack:
    """The fields of one vessel: which lie on which layer, and which are of its latest time point. None of it changes.

    A review changes scores, never what the manifest says.
    """

    def __init__(self, vessel_id: str, members: Mapping[str, ScoredField], catalogue: Catalogue) -> None:
        rows = {key: one.row for key, one in members.items()}
        types = {catalogue.get(name).id for name in sorted({row.vessel_type for row in rows.values()})}
        if len(types) > 1:
            raise InvalidDataError(f"Vessel {vessel_id!r} is said to be both {' and '.join(sorted(types))}.")
        self.vessel_id = vessel_id
        self.type: VesselType = catalogue[types.pop()]
        self.latest = latest_keys(rows)
        self.earlier = earlier_keys(rows)
        self.keys = tuple(sorted(rows))
        by_layer: defaultdict[int, list[str]] = defaultdict(list)
        for key in self.keys:
            by_layer[rows[key].layer].append(key)
        self.layers: Mapping[int, Sequence[str]] = by_layer


class FigureKeeper:
    """Makes the figures of one run again and again while scores of some of its fields change."""

    def __init__(
        self, fields: Mapping[str, ScoredField], settings: FigureSettings, compared: Compared | None = None
    ) -> None:
        self._settings, self._compared, self._kept = settings, compared, _Kept()
        by_vessel: defaultdict[str, dict[str, ScoredField]] = defaultdict(dict)
        for key, one in fields.items():
            by_vessel[one.row.vessel_id][key] = one
        self._stacks = [_Stack(name, members, settings.catalogue) for name, members in sorted(by_vessel.items())]
        self._batches = batches_of(one.row for one in fields.values())
        self._sorted = tuple(sorted(fields))

    def latest(self, keys: Iterable[str]) -> tuple[str, ...]:
        """Return which of some fields are of the latest time point of their vessel, in the order they are given in."""
        found = frozenset[str]().union(*(stack.latest for stack in self._stacks))
        return tuple(key for key in keys if key in found)

    def figures(self, fields: Mapping[str, ScoredField]) -> RunFigures:
        """Return every figure; the fields are those that the keeper was made with, whatever their scores.

        Raises
        ------
        InvalidDataError
            If a field counts as scored without usable figures.
        """
        vessels = tuple(self._vessel(stack, fields) for stack in self._stacks)
        return RunFigures(fields, vessels, self._of_batches(vessels), self._characters(fields))

    # --- confluency --------------------------------------------------------------------------------------------------

    def _vessel(self, stack: _Stack, fields: Mapping[str, ScoredField]) -> VesselEstimate:
        layers = tuple(self._layer(stack, number, fields) for number in range(1, stack.type.layers + 1))
        settings = self._settings

        def estimated() -> VesselEstimate:
            study = settings.yardsticks.layer_study
            (found,) = vessel_estimates(layers, settings.catalogue, settings=settings.sampling, study=study)
            return found

        return self._kept.get(("vessel", stack.vessel_id), layers, estimated)

    def _layer(self, stack: _Stack, number: int, fields: Mapping[str, ScoredField]) -> LayerEstimate:
        members = tuple(fields[key] for key in stack.layers.get(number, ()))
        settings = self._settings

        def estimated() -> LayerEstimate:
            for one in members:
                check_field(one, stack.type)
            place = LayerPlace(stack.vessel_id, stack.type, number)
            return estimate_layer(place, members, stack.latest, settings.optics_profile, settings.sampling)

        return self._kept.get(("layer", stack.vessel_id, number), members, estimated)

    def _of_batches(self, vessels: tuple[VesselEstimate, ...]) -> tuple[BatchEstimate, ...]:
        found = []
        for name in sorted(set(self._batches.values())):
            members = tuple(one for one in vessels if self._batches.get(one.vessel_id) == name)
            found.append(self._kept.get(("batch", name), members, partial(self._batch, members)))
        return tuple(found)

    def _batch(self, members: tuple[VesselEstimate, ...]) -> BatchEstimate:
        (found,) = batch_estimates(members, self._batches, study=self._settings.yardsticks.layer_study)
        return found

    # --- beyond confluency -------------------------------------------------------------------------------------------

    def _characters(self, fields: Mapping[str, ScoredField]) -> Characters:
        vessels: dict[str, Character] = {}
        layers: dict[tuple[str, int], Character] = {}
        for stack in self._stacks:
            hazy = self._hazy(stack, fields)
            known: dict[int, Mapping[str, LayerAmount]] = {}
            for number, keys in sorted(stack.layers.items()):
                members = tuple(fields[key] for key in keys if key in stack.latest)
                found = self._layer_character(stack, number, members, hazy)
                if found is not None:
                    layers[stack.vessel_id, number], known[number] = found
            members = tuple(fields[key] for key in stack.keys if key in stack.latest)
            character = self._vessel_character(stack, members, hazy, known)
            if character is not None:
                vessels[stack.vessel_id] = character
        drifts = {key: self._drift(one) for key in self._sorted if (one := fields[key]).score.status == "scored"}
        return Characters(vessels, dict(sorted(layers.items())), drifts)

    def _hazy(self, stack: _Stack, fields: Mapping[str, ScoredField]) -> frozenset[str]:
        if not stack.earlier:
            return _NONE
        members = tuple(fields[key] for key in stack.keys)
        return self._kept.get(("hazy", stack.vessel_id), members, lambda: suddenly_hazy(members))

    def _layer_character(
        self, stack: _Stack, number: int, members: tuple[ScoredField, ...], hazy: frozenset[str]
    ) -> tuple[Character, Mapping[str, LayerAmount]] | None:
        def made() -> tuple[Character, Mapping[str, LayerAmount]] | None:
            scored = _scored(members)
            if not scored:
                return None
            amounts = layer_amounts(scored, stack.type, self._settings.sampling)
            character = self._character(scored, members, hazy, ("layer", stack.vessel_id, number))
            return told(character, intervals_of(amounts)), amounts

        asked_of = (hazy, *members)
        return self._kept.get(("layer character", stack.vessel_id, number), asked_of, made)

    def _vessel_character(
        self,
        stack: _Stack,
        members: tuple[ScoredField, ...],
        hazy: frozenset[str],
        known: Mapping[int, Mapping[str, LayerAmount]],
    ) -> Character | None:
        def made() -> Character | None:
            scored = _scored(members)
            if not scored:
                return None
            character = self._character(scored, members, hazy, ("vessel", stack.vessel_id))
            return told(character, vessel_amounts(stack.vessel_id, known, stack.type))

        return self._kept.get(("vessel character", stack.vessel_id), (hazy, *members), made)

    def _character(
        self,
        scored: Sequence[ScoredField],
        members: Sequence[ScoredField],
        hazy: frozenset[str],
        place: tuple[str, str] | tuple[str, str, int],
    ) -> Character:
        found = character_of(scored, self._settings.pipeline_sha256, self._settings.yardsticks, hazy)
        if any(one.score.status == "rejected" and one.score.contamination == "suspect" for one in members):
            found = replace(found, contamination="suspect")  # a picture that is put aside still showed a sign
        if self._compared is None:
            return found
        if all(one is self._compared.fields[one.score.key] for one in members):
            said = self._compared.characters
            before = said.vessels.get(place[1]) if len(place) == 2 else said.layers.get((place[1], place[2]))
            if before is not None:
                return replace(found, **{name: getattr(before, name) for name in _COMPARED})
        reason = self._compared.reason
        return replace(
            found,
            drift_state="not comparable",
            drift_reason=reason,
            spread_state="not comparable",
            spread_reason=reason,
        )

    def _drift(self, one: ScoredField) -> Drift:
        compared = self._compared
        if compared is None:
            settings = self._settings
            return self._kept.get(
                ("drift", one.score.key),
                (one,),
                lambda: drift_of([one], settings.pipeline_sha256, settings.yardsticks.baseline),
            )
        before = compared.characters.fields.get(one.score.key)
        if before is not None and one is compared.fields[one.score.key]:
            return before
        return Drift("not comparable", compared.reason)


def _scored(members: Sequence[ScoredField]) -> list[ScoredField]:
    return [one for one in members if one.score.status == "scored"]
