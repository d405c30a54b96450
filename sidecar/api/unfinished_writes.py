"""Changes that outlive their caller.

The server cancels handlers whose client has left, so that nobody computes for nobody. A change of an endpoint, once
begun, is finished all the same: half a change would be worse than an unread answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from typing import Any, TypeVar

from aiohttp import web

_T = TypeVar("_T")
_LAST_SECONDS = 0.5

UNFINISHED: web.AppKey[set[asyncio.Task[Any]]] = web.AppKey("UNFINISHED_WRITES", set)


async def finish(app: web.Application, change: Coroutine[Any, Any, _T]) -> _T:
    """Result of ``change``, which goes on when the caller of this function is cancelled."""
    task = asyncio.ensure_future(change)
    unfinished = app[UNFINISHED]
    unfinished.add(task)
    task.add_done_callback(_forget(unfinished))
    return await asyncio.shield(task)


async def unfinished_writes(app: web.Application) -> AsyncIterator[None]:
    """Cleanup context: waits a moment for changes that are still under way when the application ends.

    Their callers have had the server's time to stop. What hangs, at a provider that validates it, has written nothing.
    """
    yield
    unfinished = app[UNFINISHED].copy()
    if not unfinished:
        return
    _, hanging = await asyncio.wait(unfinished, timeout=_LAST_SECONDS)
    for task in hanging:
        task.cancel()
    await asyncio.gather(*hanging, return_exceptions=True)


def _forget(unfinished: set[asyncio.Task[Any]]) -> Any:
    def done(task: asyncio.Task[Any]) -> None:
        unfinished.discard(task)
        if not task.cancelled():
            task.exception()  # Read, so that asyncio does not complain about an error whose caller is gone.

    return done
