"""Rule sets that decisions may be asked for: those in the store, those of the site's folders, those that ship."""

import json
import logging
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from sqlalchemy import Connection, select

from msc_vision.decision.library import available_rule_sets, load_rules, rule_set_of
from msc_vision.decision.rules import RuleSet
from msc_vision.errors import MscVisionError
from msc_vision.service.evidence_cache import FileStamp, file_stamp
from msc_vision.service.problems import ProblemError
from msc_vision.service.store import Store, Transaction, canonical_json, utc_text
from msc_vision.service.store.tables import rule_sets

Origin = Literal["shipped", "folder", "store"]
FRESH_S = 2.0
ADD = "add rule set"
USE = "use rule set"
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Known:
    """A rule set and where it is from."""

    rules: RuleSet
    origin: Origin

    @property
    def name(self) -> str:
        """The rule set as a request names it."""
        return f"{self.rules.id}@{self.rules.version}"


def _named(known: Sequence[Known], name: str) -> Known | None:
    """Return the rule set called ``id`` or ``id@version``."""
    wanted, _, version = name.partition("@")
    return next((one for one in known if one.rules.id == wanted and version in ("", one.rules.version)), None)


class RuleLibrary:
    """Finds rule sets by name; files and store are looked at again after two seconds.

    Parameters
    ----------
    store : Store
    folders : sequence of Path
        Of the site.
    """

    def __init__(self, store: Store, folders: Sequence[Path]) -> None:
        self._store = store
        self._folders = tuple(folders)
        self._lock = threading.Lock()
        self._seen: tuple[float, tuple[Known, ...]] = (-FRESH_S, ())
        self._files: tuple[tuple[tuple[str, FileStamp | None], ...] | None, tuple[Known, ...]] = (None, ())
        self._by_sha256: dict[str, RuleSet] = {}
        self._stored: set[str] = set()

    @property
    def folders(self) -> tuple[Path, ...]:
        """Folders of the site."""
        return self._folders

    def all(self) -> tuple[Known, ...]:
        """Return every rule set; of one id, the one that a bare id means comes first."""
        with self._lock:
            at, known = self._seen
        if time.monotonic() - at < FRESH_S:
            return known
        known = self._look()
        with self._lock:
            self._seen = (time.monotonic(), known)
        return known

    def find(self, name: str) -> Known:
        """Return the rule set called ``id`` or ``id@version``.

        Raises
        ------
        ProblemError
            ``not-found``: there is none.
        """
        found = _named(self.all(), name)
        if found is not None:
            return found
        there = ", ".join(dict.fromkeys(one.rules.id for one in self.all())) or "none"
        raise ProblemError("not-found", f"No rule set is called {name!r}; there are {there}.")

    def at_hand(self, name: str) -> RuleSet | None:
        """Return a rule set without asking the store or the disk; None if they have to be asked."""
        with self._lock:
            at, known = self._seen
        found = _named(known, name) if time.monotonic() - at < FRESH_S else None
        return None if found is None else found.rules

    def by_sha256(self, sha256: str) -> RuleSet:
        """Return the rule set that a decision was made with.

        Raises
        ------
        ProblemError
            ``not-found``: the store does not have it.
        """
        with self._lock:
            found = self._by_sha256.get(sha256)
        if found is None:
            text = self._store.read(lambda connection: _content(connection, sha256))
            if text is None:
                raise ProblemError("not-found", f"No rule set with sha256 {sha256[:12]}… is stored.")
            found = rule_set_of(json.loads(text))
            with self._lock:
                self._by_sha256[sha256] = found
        return found

    def is_stored(self, sha256: str) -> bool:
        """Tell whether a rule set is known to be in the store; rule sets are never removed from it."""
        return sha256 in self._stored

    def note_stored(self, sha256: str) -> None:
        """Keep in mind that a rule set is in the store: it was committed."""
        self._stored.add(sha256)

    def forget(self) -> None:
        """Look again at the next request: something was added."""
        with self._lock:
            self._seen = (-FRESH_S, ())

    def _look(self) -> tuple[Known, ...]:
        found: dict[str, Known] = {}
        for sha256 in self._store.read(_added):
            rules = self.by_sha256(sha256)
            found.setdefault(f"{rules.id}@{rules.version}", Known(rules, "store"))
        for one in self._of_files():
            found.setdefault(one.name, one)
        return tuple(found.values())

    def _of_files(self) -> tuple[Known, ...]:
        """Return the rule sets of the folders and those that ship; files are read again when one has changed."""
        paths = available_rule_sets(self._folders)
        stamp = tuple((str(path), file_stamp(path)) for path in paths.values())
        with self._lock:
            seen, known = self._files
        if seen == stamp:
            return known
        found = []
        for name, path in paths.items():
            try:
                rules = load_rules(name, self._folders)
            except MscVisionError as err:  # it stops only those who ask for it; `msc-vision rules check` says more
                _LOG.warning("rule set %s is left out: %s", name, err)
                continue
            found.append(Known(rules, "folder" if path.parent in self._folders else "shipped"))
        with self._lock:
            self._files = (stamp, tuple(found))
        return tuple(found)


def remember_rules(tx: Transaction, rules: RuleSet, *, who: str, what: str = USE) -> bool:
    """Keep a rule set in the store, so that its decisions can be replayed; return whether it is new there.

    Raises
    ------
    ProblemError
        ``conflict``: another rule set of this id and version was added; versions never change.
    """
    if what == USE and tx.find(rule_sets, rules.sha256) is not None:
        return False
    if what == ADD:
        _check_version(tx, rules)
        if tx.find(rule_sets, rules.sha256) is not None:
            return False
    row = {
        "sha256": rules.sha256,
        "rule_set_id": rules.id,
        "version": rules.version,
        "status": rules.status,
        "content": canonical_json(rules.model_dump(mode="json")),
        "added_at": utc_text(),
        "added_by": who if what == ADD else f"{who} (used)",
    }
    tx.insert(rule_sets, row, who=who, what=what)
    return True


def _check_version(tx: Transaction, rules: RuleSet) -> None:
    same = select(rule_sets.c.sha256).where(rule_sets.c.rule_set_id == rules.id, rule_sets.c.version == rules.version)
    other = next((row.sha256 for row in tx.rows(same) if row.sha256 != rules.sha256), None)
    if other is not None:
        raise ProblemError(
            "conflict", f"{rules.id} {rules.version} is there with other content ({other[:12]}…); give a new version."
        )


def _added(connection: Connection) -> list[str]:
    """Return the sha256 of every rule set that somebody added, the last one first."""
    was_added = rule_sets.c.added_by.not_like("% (used)")
    return list(
        connection.execute(select(rule_sets.c.sha256).where(was_added).order_by(rule_sets.c.seq.desc())).scalars()
    )


def _content(connection: Connection, sha256: str) -> str | None:
    return connection.scalar(select(rule_sets.c.content).where(rule_sets.c.sha256 == sha256))


def differences(old: Mapping[str, object], new: Mapping[str, object], path: str = "") -> list[dict[str, object]]:
    """Return what differs between two rule sets; criteria are matched by id."""
    found: list[dict[str, object]] = []
    for name in sorted({*old, *new}):
        here = f"{path}/{name}"
        before, after = _by_id(old.get(name)), _by_id(new.get(name))
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            found += differences(before, after, here)
        elif before != after:
            found.append({"path": here, "old": old.get(name), "new": new.get(name)})
    return found


def _by_id(value: object) -> object:
    """Return a list of things with an id as a mapping by id."""
    if isinstance(value, list) and value and all(isinstance(one, Mapping) and "id" in one for one in value):
        return {str(one["id"]): one for one in value}
    return value
