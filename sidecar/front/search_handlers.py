"""Searches whose bodies may name the sidecar's endpoints."""

from __future__ import annotations

from sidecar.front.routes import FrontRoute

ROUTES: tuple[FrontRoute, ...] = ()
