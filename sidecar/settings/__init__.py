"""Settings of the sidecar: one table, read from flags, environment, ``.env`` and a file."""

from sidecar.core.user_error import UserError
from sidecar.settings.sources import load_settings, unknown_settings
from sidecar.settings.table import MASK, Settings

__all__ = ["MASK", "Settings", "UserError", "load_settings", "unknown_settings"]
