"""What the board keeps in memory between two requests: bounded, and only what never changes or has a stamp."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

T = TypeVar("T")


class Kept(Generic[T]):
    """Values that were made last, up to some weight together.

    Parameters
    ----------
    most : int
        Weight of all values together.
    weigh : callable
        Weight of one value; each weighs 1 by default.
    """

    def __init__(self, most: int, weigh: Callable[[T], int] = lambda _: 1) -> None:
        self._most = most
        self._weigh = weigh
        self._weight = 0
        self._values: OrderedDict[Hashable, T] = OrderedDict()
        self._lock = threading.Lock()

    def find(self, key: Hashable) -> T | None:
        """Return a value that is kept, or None."""
        with self._lock:
            found = self._values.get(key)
            if found is not None:
                self._values.move_to_end(key)
            return found

    def put(self, key: Hashable, value: T) -> T:
        """Keep a value; those that were asked for longest ago make room. One that is too heavy is not kept."""
        weight = self._weigh(value)
        with self._lock:
            if key not in self._values and weight <= self._most:
                self._values[key] = value
                self._weight += weight
            while self._weight > self._most:
                self._weight -= self._weigh(self._values.popitem(last=False)[1])
        return value

    def get(self, key: Hashable, make: Callable[[], T]) -> T:
        """Return a value; it is made when it is not kept."""
        found = self.find(key)
        return self.put(key, make()) if found is None else found
