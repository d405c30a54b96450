"""A sidecar of our own: `sidecar serve` as a process, ended with us."""

import ctypes
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_PATIENCE_SECONDS = 60.0
_LOG_LINES = 15


class SidecarFailedError(Exception):
    """The sidecar did not come up; the text ends with the last lines of its log."""


@dataclass(frozen=True)
class Sidecar:
    """A running sidecar; `environment` makes commands use the same endpoints."""

    url: str
    environment: dict[str, str]


@contextmanager
def running_sidecar(folder: Path, elasticsearch_url: str, more: Mapping[str, str] | None = None) -> Iterator[Sidecar]:
    """A sidecar on a free port, with its data in `folder` and its endpoints in that Elasticsearch; `more` settings."""
    port = _free_port()
    environment = _clean_environment() | {
        "SIDECAR_DATA_DIR": str(folder / "data"),
        "SIDECAR_ELASTICSEARCH_URL": elasticsearch_url,
        "SIDECAR_FRONT": "true",
        "SIDECAR_LOG_FORMAT": "json",
        **(more or {}),
    }
    log = folder / "sidecar.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "sidecar", "serve", "--host", "127.0.0.1", "--port", str(port)],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,  # Ctrl-C is for us; we end it in order
            preexec_fn=_die_with_parent(),  # noqa: PLW1509
        )
    url = f"http://127.0.0.1:{port}"
    try:
        _wait_until_ready(url, process, log)
        yield Sidecar(url, environment)
    finally:
        process.terminate()
        try:
            process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_until_ready(url: str, process: "subprocess.Popen[bytes]", log: Path) -> None:
    until = time.monotonic() + _PATIENCE_SECONDS
    while time.monotonic() < until and process.poll() is None:
        with (
            suppress(urllib.error.URLError, OSError),
            urllib.request.urlopen(f"{url}/_sidecar/health/ready", timeout=5) as answer,
        ):
            if answer.status == 200:
                return
        time.sleep(0.1)
    tail = "\n".join(log.read_text(errors="replace").splitlines()[-_LOG_LINES:])
    raise SidecarFailedError(f"The sidecar did not come up at {url}:\n{tail}")


def _clean_environment() -> dict[str, str]:
    """Ours without settings of a sidecar that is none of the demo's business."""
    return {name: value for name, value in os.environ.items() if not name.upper().startswith("SIDECAR_")}


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def _die_with_parent() -> Callable[[], None] | None:
    """On Linux the kernel ends the sidecar when we are killed; elsewhere it would stay."""
    if not sys.platform.startswith("linux"):
        return None
    libc = ctypes.CDLL(None, use_errno=True)
    return lambda: libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
