"""What the process itself runs short of: turns of its event loop, file handles, room on the disk."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
from collections import deque
from pathlib import Path
from typing import Any

_INTERVAL = 0.25
# Loop and handles are judged over this many looks: about ten seconds, so that a probe sees what was between two.
_WINDOW = 40
# Probes wait about a second or three; a loop that is later than that fails them.
LATE_SECONDS = 1.0
HANDLES_SHARE = 0.9
LEAST_DISK_BYTES = 16 * 2**20
_HANDLES = (Path("/proc/self/fd"), Path("/dev/fd"))


class ProcessWatch:
    """Looks a few times a second; :meth:`start` inside a running loop, :meth:`close` at the end.

    ``data_path`` is the directory whose disk is looked at.
    """

    def __init__(self, data_path: Path) -> None:
        self._data_path = data_path
        self._delays: deque[float] = deque(maxlen=_WINDOW)
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to look."""
        self._task = asyncio.create_task(self._watch(), name="process watch")

    async def close(self) -> None:
        """Stop looking."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    @property
    def loop_delay(self) -> float:
        """Seconds by which the loop was late at its worst in the last ten seconds."""
        return max(self._delays, default=0.0)

    def check(self) -> dict[str, Any]:
        """``ok``, and the causes where it is not."""
        causes = [cause for cause in (self._late(), _handles_short(), self._disk_full()) if cause is not None]
        return {"ok": not causes, **({"cause": "; ".join(causes)} if causes else {})}

    async def _watch(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + _INTERVAL
            await asyncio.sleep(_INTERVAL)
            self._delays.append(max(0.0, loop.time() - due))

    def _late(self) -> str | None:
        late = self.loop_delay
        return f"the event loop was held for {late:.1f} s" if late > LATE_SECONDS else None

    def _disk_full(self) -> str | None:
        try:
            free = shutil.disk_usage(self._data_path).free
        except OSError:
            return None  # not made yet; the store says what is wrong with it
        return f"the disk of the data directory has {free} bytes left" if free < LEAST_DISK_BYTES else None


def _handles_short() -> str | None:
    try:
        import resource  # noqa: PLC0415 - not to be had on Windows

        limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        used = next(len(os.listdir(place)) for place in _HANDLES if place.is_dir())  # noqa: PTH208 - names suffice
    except (ImportError, StopIteration):
        return None
    except OSError as error:
        return f"no file handle is free: {error.strerror}"
    return f"{used} of {limit} file handles are in use" if 0 < limit * HANDLES_SHARE <= used else None
