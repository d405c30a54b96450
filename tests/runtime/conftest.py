"""Local models for the tests of this room, closed after each test."""

from collections.abc import AsyncIterator

import pytest

from sidecar.runtime.config import RuntimeConfig
from sidecar.runtime.models import LocalModels


@pytest.fixture
async def models() -> AsyncIterator[LocalModels]:
    """The built-in models with default settings."""
    local = LocalModels(RuntimeConfig())
    yield local
    await local.close()
