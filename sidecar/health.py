"""Whether the sidecar is alive and whether it is ready, for load balancers and Kubernetes.

Alive: the event loop answers. Ready: endpoints can be read (from the store, or from the local copy while the store is
away) and the models to be preloaded are loaded. A store that is away makes a sidecar with a copy ``degraded`` and not
unready: it still serves what it knows, and taking all replicas out at once would help nobody. One that starts in that
time without a copy is not ready, so that a rollout does not put it in the place of one that knows the endpoints; where
each sidecar serves one pod alone, a setting makes it ``degraded`` as well, with the built-in models.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from typing import Any

import structlog
from aiohttp import web

from sidecar.connections import CONNECTIONS
from sidecar.core.errors import SidecarError
from sidecar.registry import Registry, RegistryHealth
from sidecar.runtime.config import AdaptiveAllocations, Allocation
from sidecar.runtime.errors import ModelError
from sidecar.runtime.models import LocalModels
from sidecar.settings import UserError
from sidecar.telemetry.process import ProcessWatch

LIVE_PATH = "/_sidecar/health/live"
READY_PATH = "/_sidecar/health/ready"
_CONNECTIONS_SHORT = "connections were closed or refused in the last minute for want of file handles"
_log = structlog.stdlib.get_logger(__name__)


class Preloading:
    """Loads models in the background, one after the other, and keeps one worker of each."""

    def __init__(self, models: LocalModels, names: Sequence[str], threads: int = 1) -> None:
        self._models = models
        self._allocation = Allocation(num_threads=threads, adaptive=AdaptiveAllocations(1, 32))
        self._states: dict[str, str | None] = dict.fromkeys(names, "loading")
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to load. Raises :class:`UserError` for a model that does not exist."""
        for name in self._states:
            try:
                self._models.resolve(name)
            except ModelError as error:
                raise UserError(f"SIDECAR_PRELOAD_MODELS: {error.reason}") from None
        self._task = asyncio.create_task(self._load(), name="preload models")

    async def close(self) -> None:
        """Stop loading."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    def check(self) -> dict[str, Any]:
        """``ok``, what is loaded, and a cause per model that is not."""
        return {
            "ok": not any(self._states.values()),
            "loaded": [name for name, cause in self._states.items() if cause is None],
            **(
                {"waiting": waiting}
                if (waiting := {name: cause for name, cause in self._states.items() if cause})
                else {}
            ),
        }

    async def _load(self) -> None:
        for name in self._states:
            try:
                await self._models.deploy(f"preload:{name}", name, self._allocation)
            except SidecarError as error:
                self._states[name] = error.reason
                _log.error("model_preload_failed", model=name, cause=error.reason)
            else:
                self._states[name] = None
                _log.info("model_preloaded", model=name)


class Health:
    """The checks of one running sidecar."""

    def __init__(
        self,
        registry: Registry,
        preloading: Preloading,
        process: ProcessWatch,
        *,
        ready_without_endpoints: bool = False,
    ) -> None:
        self._registry = registry
        self._preloading = preloading
        self._process = process
        self._ready_without_endpoints = ready_without_endpoints
        self.is_stopping = False

    def ready(self, *, connections_short: bool = False) -> tuple[int, dict[str, Any]]:
        """HTTP status and body; ``connections_short`` where callers had to be refused or closed for want of handles."""
        health = self._registry.health()
        models = self._preloading.check()
        process = self._process.check()
        if connections_short:
            causes = [_CONNECTIONS_SHORT, *([process["cause"]] if "cause" in process else [])]
            process = {"ok": False, "cause": "; ".join(causes)}
        if self.is_stopping:
            process = {"ok": False, "cause": "shutting down"}
        checks = {"store": _store_check(health), "models": models, "process": process}
        has_endpoints = health.serves != "nothing" or self._ready_without_endpoints
        is_ready = has_endpoints and models["ok"] and not self.is_stopping
        status = ("ready" if all(check["ok"] for check in checks.values()) else "degraded") if is_ready else "not ready"
        return 200 if is_ready else 503, {"status": status, "checks": checks}


def _store_check(health: RegistryHealth) -> dict[str, Any]:
    """``ok`` unless endpoints do not come from the store, cannot be written to it, or are without usable secrets.

    A record that this version cannot read is told and no fault: a newer version may have written it.
    """
    facts = {
        "cause": health.cause,
        "blocked": health.blocked,
        "without_secrets": list(health.without_secrets),
        "unreadable_secrets": list(health.unreadable_secrets),
        "left_aside": dict(health.left_aside),
    }
    is_ok = not (health.cause or health.blocked or health.without_secrets or health.unreadable_secrets)
    return {"ok": is_ok, "serves": health.serves, **{name: fact for name, fact in facts.items() if fact}}


HEALTH: web.AppKey[Health] = web.AppKey("HEALTH", Health)


async def get_live(_request: web.Request) -> web.StreamResponse:
    """``GET /_sidecar/health/live``: 200 as long as the loop turns."""
    return web.json_response({"status": "live"})


async def get_ready(request: web.Request) -> web.StreamResponse:
    """``GET /_sidecar/health/ready``: 200 or 503, with every check and its cause."""
    connections = request.app.get(CONNECTIONS)
    status, body = request.app[HEALTH].ready(connections_short=connections is not None and connections.is_short)
    return web.json_response(body, status=status)
