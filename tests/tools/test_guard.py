"""The guard ends what it watches, whichever way its owner goes; shown on quick commands in place of a node."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tools.elasticsearch import guard
from tools.elasticsearch.launch import Launch

# an owner that hands its guard the launch, and a child that inherits the pipe and would keep it open
OWNER = """
import subprocess, sys, os, time
guard = subprocess.Popen([sys.executable, "-I", "-S", sys.argv[1]], stdin=subprocess.PIPE, start_new_session=True)
guard.stdin.write(sys.argv[2].encode() + b"\\n")
guard.stdin.flush()
if sys.argv[3] == "forks" and os.fork() == 0:
    time.sleep(30)
    os._exit(0)
print(guard.pid, flush=True)
time.sleep(600)
"""


def launch(directory: Path, script: str, clean_up: list[list[str]] | None = None) -> Launch:
    return Launch(
        command=["/bin/sh", "-c", script],
        environment=None,
        directory=str(directory),
        cwd=str(directory),
        origin="a shell",
        version="0",
        clean_up=clean_up or [],
    )


@contextmanager
def owned(launch: Launch, how: str = "alone") -> Iterator[tuple[subprocess.Popen[str], int]]:
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER, guard.__file__, launch.as_json(), how], stdout=subprocess.PIPE, text=True
    )
    assert owner.stdout is not None
    try:
        yield owner, int(owner.stdout.readline())
    finally:
        owner.kill()
        owner.wait()
        owner.stdout.close()


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    folder = tmp_path / "node"
    folder.mkdir()
    return folder


@pytest.mark.parametrize("how", ["alone", "forks"])
def test_everything_ends_and_goes_with_a_killed_owner(directory: Path, tmp_path: Path, how: str) -> None:
    pids, witness = tmp_path / "pids", tmp_path / "cleaned up"
    script = f"sleep 600 & echo $! $$ > '{pids}.new'; mv '{pids}.new' '{pids}'; wait"
    with owned(launch(directory, script, [["touch", str(witness)]]), how) as (owner, _):
        assert eventually(pids.exists)
        running = [int(pid) for pid in pids.read_text().split()]
        assert all(map(alive, running))
        owner.kill()
        assert eventually(lambda: not any(map(alive, running)))
        assert eventually(lambda: not directory.exists())
        assert witness.exists()


def test_a_node_does_not_outlive_a_killed_guard(directory: Path, tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    script = f"echo $$ > '{pids}.new'; mv '{pids}.new' '{pids}'; exec sleep 600"
    with owned(launch(directory, script)) as (_, guard_pid):
        assert eventually(pids.exists)
        node = int(pids.read_text())
        assert alive(node)
        os.kill(guard_pid, signal.SIGKILL)
        if sys.platform == "linux":  # other kernels have nothing for that; there the owner's end is what counts
            assert eventually(lambda: not alive(node))


def test_a_node_that_ends_by_itself_leaves_its_status_and_log(directory: Path) -> None:
    with owned(launch(directory, "echo the reason; exit 7")) as (owner, _):
        assert eventually((directory / guard.EXITED).exists)
        assert eventually(lambda: (directory / guard.EXITED).read_text() == "7")
        assert (directory / "console.log").read_text() == "the reason\n"
        owner.kill()
        assert eventually(lambda: not directory.exists())


def alive(pid: int) -> bool:
    """Whether the process runs; one that ended and was not waited for yet does not."""
    done = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return done.stdout.strip()[:1] not in {"", "Z"}


def eventually(holds: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        if holds():
            return True
        time.sleep(0.05)
    return holds()
