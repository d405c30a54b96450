"""The guard: a small process between a node and its owner, which ends the node when the owner is gone.

owner --pipe--> guard --starts--> node (its own process group)
  pipe at its end, or another parent  ->  guard kills the group, runs the clean-up, removes the directory
  guard killed itself                 ->  the kernel kills the node's launcher, and the server follows its launcher

A killed owner cannot clean up, but the kernel closes its end of the pipe. Run as a file, by a bare Python; the first
line of the pipe is the launch as JSON (see `launch.Launch`).
"""

import contextlib
import ctypes
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

# linux/prctl.h
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36

EXITED = "exited"
"""File in the node's directory that holds the status of a node which ended by itself."""


def main() -> None:
    """Start the node, wait for its owner to go, and leave nothing behind."""
    owner = os.getppid()
    launch: dict[str, Any] = json.loads(_first_line())
    for ignored in (signal.SIGINT, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)  # the server becomes ours when its launcher dies, so we can wait for it
    directory = Path(launch["directory"])
    node = _start(launch, directory)
    try:
        _wait_for_owner_to_go(owner, node, directory)
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        _end_group(node.pid)
        for command in launch["clean_up"]:
            with contextlib.suppress(OSError, subprocess.TimeoutExpired):
                subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=30, check=False)
        _remove(directory)


def _first_line() -> bytes:
    line = b""
    while not line.endswith(b"\n"):  # byte by byte: a buffer would hide the end of the pipe from select
        if not (byte := os.read(0, 1)):
            sys.exit(0)
        line += byte
    return line


def _start(launch: dict[str, Any], directory: Path) -> subprocess.Popen[bytes]:
    account: dict[str, Any] = {}
    if (user := launch["user"]) is not None:
        account = {"user": user, "group": user, "extra_groups": []}
    with (directory / "console.log").open("ab") as console:
        return subprocess.Popen(
            launch["command"],
            env=launch["environment"],
            cwd=launch["cwd"],
            stdin=subprocess.DEVNULL,
            stdout=console,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=lambda: _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL),  # noqa: PLW1509 (this process has one thread)
            **account,
        )


def _wait_for_owner_to_go(owner: int, node: subprocess.Popen[bytes], directory: Path) -> None:
    told = False
    while True:
        if select.select([0], [], [], 0.3)[0] and not os.read(0, 1024):
            return
        if os.getppid() != owner:  # a child of the owner may have inherited the pipe and keep it open
            return
        if not told and node.poll() is not None:
            (directory / EXITED).write_text(str(node.returncode))
            told = True


def _end_group(group: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signal.SIGKILL)
    deadline = time.monotonic() + 10
    with contextlib.suppress(ChildProcessError):
        while time.monotonic() < deadline:
            if os.waitpid(-1, os.WNOHANG)[0] == 0:
                time.sleep(0.02)


def _remove(directory: Path) -> None:
    for _ in range(3):
        shutil.rmtree(directory, ignore_errors=True)
        if not directory.exists():
            return
        time.sleep(0.3)


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


if __name__ == "__main__":
    main()
