"""Long runs give way to what else wants the processor."""

from __future__ import annotations

import subprocess
import sys

import pytest

_PROGRAM = """
import os, threading
from sidecar.cli.workbench import give_way

def shown():
    print(os.getpriority(os.PRIO_PROCESS, 0))

for niceness in (0, 4, 2):
    give_way(niceness)
    shown()
thread = threading.Thread(target=shown)
thread.start()
thread.join()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="niceness is one of threads on Linux only")
def test_a_run_lowers_its_priority_and_never_raises_it() -> None:
    program = ["nice", "-n", "1", sys.executable, "-c", _PROGRAM]
    shown = subprocess.run(program, check=True, capture_output=True, text=True).stdout.split()
    own = int(subprocess.run(["nice"], check=True, capture_output=True, text=True).stdout)
    least = min(own + 1, 19)
    assert [int(value) for value in shown] == [least, max(least, 4), max(least, 4), max(least, 4)]
