"""A running node: started under its guard, waited for, ended."""

import base64
import json
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tools.elasticsearch import guard
from tools.elasticsearch.launch import Launch

_LOG_LINES = 40
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # a proxy has no business on loopback
_PROXIED = urllib.request.build_opener()


class NodeUnavailableError(RuntimeError):
    """No way of getting a node is open here; the message is one sentence that names them all."""


class NodeFailedError(RuntimeError):
    """A node was started and did not come up; the message ends with the end of its log."""


@dataclass(frozen=True)
class Node:
    """A node that answers.

    `origin` says where it comes from. `callback_host` is the name under which it reaches what listens on this
    machine's loopback address. `directory` (configuration, data, logs) is None for a node that was running already.
    """

    url: str
    version: str
    origin: str
    callback_host: str = "127.0.0.1"
    directory: Path | None = None

    @property
    def line(self) -> str:
        """The major version."""
        return self.version.split(".")[0]


def running_version(url: str) -> str:
    """The version that the cluster at `url` reports.

    Raises:
        NodeUnavailableError: nothing answers there as Elasticsearch does.
    """
    try:
        return str(_get(url, direct=False)["version"]["number"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        shown = urllib.parse.urlsplit(url)
        where = (
            f"{shown.scheme}://{shown.hostname}:{shown.port}" if shown.port else f"{shown.scheme}://{shown.hostname}"
        )
        raise NodeUnavailableError(
            f"ELASTICSEARCH_URL names {where}, but no Elasticsearch answers there: {error}."
        ) from error


@contextmanager
def running(launch: Launch, patience: float) -> Iterator[Node]:
    """The node of `launch`, from the moment it answers until the block is left.

    Raises:
        NodeFailedError: it ended by itself or did not answer within `patience` seconds.
    """
    watcher = subprocess.Popen(
        [sys.executable, "-I", "-S", str(Path(guard.__file__))],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        start_new_session=True,  # Ctrl-C is for us alone: we end the guard, the guard ends the node
    )
    assert watcher.stdin is not None
    try:
        watcher.stdin.write(launch.as_json().encode() + b"\n")
        watcher.stdin.flush()
        yield _wait(launch, watcher, patience)
    finally:
        watcher.stdin.close()
        try:
            watcher.wait(timeout=60)
        except subprocess.TimeoutExpired:
            watcher.kill()
            watcher.wait()


def _wait(launch: Launch, watcher: subprocess.Popen[bytes], patience: float) -> Node:
    directory = Path(launch.directory)
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        if (directory / guard.EXITED).exists() or watcher.poll() is not None:
            raise NodeFailedError(_report(launch, "ended while starting"))
        url = launch.url or _written_url(directory)
        if url and _is_ready(url):
            version = running_version(url)
            return Node(url, version, launch.origin, launch.callback_host, directory)
        time.sleep(0.25)
    raise NodeFailedError(_report(launch, f"did not answer within {patience:.0f} s"))


def _written_url(directory: Path) -> str:
    with suppress(OSError):
        addresses = (directory / "logs" / "http.ports").read_text().split()
        return f"http://{addresses[0]}" if addresses else ""
    return ""


def _is_ready(url: str) -> bool:
    with suppress(OSError, ValueError):
        health = _get(f"{url}/_cluster/health?wait_for_status=yellow&timeout=1s")
        # the licence is written a moment after the first election, and until then many calls are refused
        return health["status"] in {"yellow", "green"} and bool(_get(f"{url}/_license").get("license"))
    return False


def _report(launch: Launch, what: str) -> str:
    try:
        lines = (Path(launch.directory) / "console.log").read_text(errors="replace").splitlines()
    except OSError:
        lines = []
    tail = "\n".join(lines[-_LOG_LINES:]) or "(it wrote nothing)"
    return f"Elasticsearch {launch.version} ({launch.origin}) {what}. The end of its log:\n{tail}"


def _get(url: str, *, direct: bool = True) -> dict[str, Any]:
    parts = urllib.parse.urlsplit(url)
    headers = {"Accept": "application/json"}
    if parts.username is not None:
        pair = f"{urllib.parse.unquote(parts.username)}:{urllib.parse.unquote(parts.password or '')}"
        headers["Authorization"] = "Basic " + base64.b64encode(pair.encode()).decode()
        url = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
    opener = _DIRECT if direct else _PROXIED
    with opener.open(urllib.request.Request(url, headers=headers), timeout=10) as answer:
        body: dict[str, Any] = json.load(answer)
        return body
