"""Commands run in this process, which then logs as before."""

import logging
from pathlib import Path

import structlog
from typer.testing import CliRunner, Result

from sidecar.cli import build


def run_command(data_dir: Path, *arguments: str) -> Result:
    """`sidecar ARGUMENTS` with a data directory of its own and lines wide enough not to be folded."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    try:
        return CliRunner(env={"SIDECAR_DATA_DIR": str(data_dir), "COLUMNS": "200"}).invoke(build(), arguments)
    finally:
        root.handlers, root.level = handlers, level
        structlog.reset_defaults()
