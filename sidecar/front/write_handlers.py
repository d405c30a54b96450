"""Writes to the cluster whose documents may want vectors."""

from __future__ import annotations

from sidecar.front.routes import FrontRoute

ROUTES: tuple[FrontRoute, ...] = ()
