"""How often a caller may ask, and how refusals are kept from filling the disk."""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

MAX_KEYS = 10_000


class RateLimit:
    """A bucket of tokens per key; the keys that were quiet for longest are forgotten first.

    Parameters
    ----------
    per_s : float
        Tokens that come back per second.
    burst : int
        Tokens of a full bucket.
    clock : callable
        Seconds, monotonic.
    """

    def __init__(self, per_s: float, burst: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_s = per_s
        self._burst = float(burst)
        self._clock = clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()
        self._lock = threading.Lock()

    def wait_s(self, key: str) -> float:
        """Take a token and return 0, or the seconds until there is one."""
        now = self._clock()
        with self._lock:
            tokens, since = self._buckets.get(key, (self._burst, now))
            tokens = min(self._burst, tokens + (now - since) * self._per_s)
            is_granted = tokens >= 1.0
            self._buckets[key] = (tokens - 1.0 if is_granted else tokens, now)
            self._buckets.move_to_end(key)
            if len(self._buckets) > MAX_KEYS:
                self._buckets.popitem(last=False)
        return 0.0 if is_granted else (1.0 - tokens) / self._per_s


@dataclass(frozen=True, slots=True)
class Refusal:
    """One refused request, as the audit log shows it."""

    who: str
    what: str
    target: str | None
    why: str
    target_id: str | None = None


class RefusalLog:
    """Refusals on their way to the audit log: the first ones of a minute one by one, the others as a count.

    Parameters
    ----------
    note : callable
        Writes one refusal; must not wait.
    per_min : int
    clock : callable
        Seconds, monotonic.
    """

    def __init__(
        self, note: Callable[[Refusal], None], per_min: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._note = note
        self._per_min = per_min
        self._clock = clock
        self._lock = threading.Lock()
        self._since = clock()
        self._n_noted = 0
        self._left_out: dict[str, int] = {}

    def add(self, refusal: Refusal) -> None:
        """Take a refusal: it is noted, or counted for the summary of this minute."""
        self.flush_if_due()
        with self._lock:
            is_noted = self._n_noted < self._per_min
            if is_noted:
                self._n_noted += 1
            else:
                self._left_out[refusal.what] = self._left_out.get(refusal.what, 0) + 1
        if is_noted:
            self._note(refusal)

    def flush_if_due(self) -> None:
        """Begin a new minute when the last one is over."""
        if self._clock() - self._since >= 60:
            self.flush()

    def flush(self) -> None:
        """Note how many refusals were left out, and begin a new minute."""
        with self._lock:
            left_out, self._left_out = self._left_out, {}
            self._since, self._n_noted = self._clock(), 0
        if left_out:
            counts = ", ".join(f"{n} x {what}" for what, n in sorted(left_out.items()))
            self._note(Refusal("service", "refusals summed up", "requests", f"Not listed one by one: {counts}."))
