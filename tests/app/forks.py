"""Processes of ``python -m sidecar`` that begin where their imports end: forks of one that has made them already.

    python -m tests.app.forks       # its standard input is a socket on which requests come

A second of every such process goes into imports that are the same for all. Everything else is a process's own: its
arguments, environment, directory, output, signals and exit status.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_MOST_BYTES = 1 << 17
# All that takes long and is no ONNX Runtime, whose threads no fork has.
_MODULES = (
    *("aiohttp.web", "elasticsearch", "icu", "numpy", "onnx", "prometheus_client", "pydantic_settings", "regex"),
    *("structlog", "tokenizers", "typer.rich_utils"),
    *("sidecar.cli", "sidecar.elastic", "sidecar.registry", "sidecar.services", "sidecar.settings"),
    *("sidecar.telemetry", "sidecar.upstream", "sidecar.wire"),
)


@dataclass
class Fork:
    """A running process, with what the tests use of :class:`asyncio.subprocess.Process`."""

    pid: int
    stdout: asyncio.StreamReader
    stderr: asyncio.StreamReader
    ending: asyncio.Task[int]

    @property
    def returncode(self) -> int | None:
        return self.ending.result() if self.ending.done() else None

    def send_signal(self, number: int) -> None:
        if self.returncode is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    async def wait(self) -> int:
        return await asyncio.shield(self.ending)

    async def communicate(self) -> tuple[bytes, bytes]:
        out, error = await asyncio.gather(self.stdout.read(), self.stderr.read())
        await self.wait()
        return out, error


@dataclass(frozen=True)
class Forks:
    """The server of forks, as its clients see it."""

    requests: socket.socket

    async def start(self, arguments: Sequence[str], directory: Path, environment: Mapping[str, str]) -> Fork:
        """``python -m sidecar ARGUMENTS`` in that directory, with that environment and no other."""
        asked = json.dumps([list(arguments), str(directory), dict(environment)]).encode()
        pipes = [os.pipe() for _ in range(3)]
        socket.send_fds(self.requests, [asked], [write for _, write in pipes])
        for _, write in pipes:
            os.close(write)
        out, error, status = [await _reader(read) for read, _ in pipes]
        pid = int(await status.readline())
        return Fork(pid, out, error, asyncio.create_task(_exit_status(status)))


async def _reader(handle: int) -> asyncio.StreamReader:
    reader = asyncio.StreamReader()
    protocol = asyncio.StreamReaderProtocol(reader)
    await asyncio.get_running_loop().connect_read_pipe(lambda: protocol, os.fdopen(handle, "rb"))
    return reader


async def _exit_status(status: asyncio.StreamReader) -> int:
    return int(await status.readline())


@contextmanager
def running_forks() -> Iterator[Forks]:
    """The server; it ends with the block, or with its owner. Its forks are whose who started them to end."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    command = [sys.executable, "-m", "tests.app.forks"]
    with subprocess.Popen(command, stdin=theirs.fileno(), cwd=Path(__file__).parents[2]), ours:
        theirs.close()
        yield Forks(ours)


def main() -> None:
    """Forks for each request until the other end is closed."""
    for module in _MODULES:
        importlib.import_module(module)
    requests = socket.socket(fileno=os.dup(0))
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # who waits for a fork is its keeper
    while True:
        asked, handles, _, _ = socket.recv_fds(requests, _MOST_BYTES, 3)
        if not asked:
            return
        if os.fork() == 0:
            requests.close()
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            _keep(*json.loads(asked), *handles)
            return
        for handle in handles:
            os.close(handle)


def _keep(arguments: list[str], directory: str, environment: dict[str, str], out: int, error: int, status: int) -> None:
    """Forks once more; the child is the sidecar, the other tells its number, waits, and tells how it ended."""
    nothing = os.open(os.devnull, os.O_RDWR)
    pid = os.fork()
    if pid == 0:
        for handle, number in ((nothing, 0), (out, 1), (error, 2)):
            os.dup2(handle, number)
        os.closerange(3, status + 1)
        os.chdir(directory)
        os.environ.clear()
        os.environ.update(environment)
        sys.argv = ["sidecar", *arguments]
        runpy.run_module("sidecar", run_name="__main__")
        return
    for number in (0, 1, 2, out, error):
        os.dup2(nothing, number)
    os.write(status, b"%d\n" % pid)
    _, ended = os.waitpid(pid, 0)
    os.write(status, b"%d\n" % os.waitstatus_to_exitcode(ended))


if __name__ == "__main__":
    main()
