"""What visitors' requests share on the server: a cache bounded by bytes."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any, TypeVar, cast

from PIL import Image

T = TypeVar("T")


class Cache:
    """Values by key; the least recently used ones go once ``max_bytes`` are exceeded.

    Two requests for the same key at once share one computation.
    """

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self._values: OrderedDict[Hashable, tuple[Any, int]] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()
        self._making: dict[Hashable, threading.Lock] = {}

    def get(
        self,
        key: Hashable,
        make: Callable[[], T],
        is_whole: Callable[[T], bool] = lambda _: True,
        waiting: Callable[[], None] = lambda: None,
    ) -> T:
        """Return the value of ``key``, made where there is none.

        Args:
            key: holds all that the value depends on.
            make: called once; what it raises passes on, and nothing is kept.
            is_whole: whether the value may be kept; who waits for one that may not makes another.
            waiting: called again and again while another request makes it; may raise.
        """
        while True:
            with self._lock:
                if key in self._values:
                    self._values.move_to_end(key)
                    return cast(T, self._values[key][0])
                making = self._making.setdefault(key, threading.Lock())
            while not making.acquire(timeout=0.1):
                waiting()
            with self._lock:
                if self._making.get(key) is making:
                    break
            making.release()  # who held it is done: the value is there, or is made by another lock
        try:
            value = make()
            if is_whole(value):
                self._keep(key, value, weight_of(value))
            return value
        finally:  # not before it is kept: a third request would make it again
            with self._lock:
                self._making.pop(key, None)
            making.release()

    def __contains__(self, key: Hashable) -> bool:
        with self._lock:
            return key in self._values

    def drop(self, key: Hashable) -> None:
        """Forget a value."""
        with self._lock:
            self._bytes -= self._values.pop(key, (None, 0))[1]

    def _keep(self, key: Hashable, value: Any, weight: int) -> None:
        with self._lock:
            self._bytes += weight - self._values.pop(key, (None, 0))[1]
            self._values[key] = (value, weight)
            while self._bytes > self.max_bytes and len(self._values) > 1:
                self._bytes -= self._values.popitem(last=False)[1][1]


def weight_of(value: Any) -> int:
    """Bytes of pictures and arrays, and of those that tuples, dicts and dataclasses hold."""
    if isinstance(value, Image.Image):
        # Pillow stores three bands as four.
        return value.width * value.height * (1 if len(value.getbands()) == 1 else 4)
    if isinstance(value, (str, bytes)):
        return len(value)
    if isinstance(bare := getattr(value, "nbytes", None), int):  # NumPy's and torch's arrays
        return bare
    if isinstance(value, (list, tuple)):
        return sum(weight_of(item) for item in value)
    if isinstance(value, dict):
        return sum(weight_of(item) for item in value.values())
    fields = getattr(value, "__dataclass_fields__", {})
    return 64 + sum(weight_of(getattr(value, name)) for name in fields)
