"""How many cores this process may really use."""

from __future__ import annotations

import math
import os
from pathlib import Path

_CGROUP_2 = Path("/sys/fs/cgroup/cpu.max")
_CGROUP_1 = Path("/sys/fs/cgroup/cpu")


def available_cpus() -> int:
    """Cores by affinity, and no more than the cgroup's CPU quota (a container's limit), at least one.

    Source: Linux kernel documentation, "Control Group v2", ``cpu.max``; "CFS Bandwidth Control" for version 1.
    """
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _quota()
    return max(1, min(affinity, math.ceil(quota) if quota else affinity))


def _quota() -> float | None:
    try:
        if _CGROUP_2.is_file():
            limit, period = _CGROUP_2.read_text().split()[:2]
            return None if limit == "max" else int(limit) / int(period)
        limit = (_CGROUP_1 / "cpu.cfs_quota_us").read_text()
        period = (_CGROUP_1 / "cpu.cfs_period_us").read_text()
        return int(limit) / int(period) if int(limit) > 0 else None
    except (OSError, ValueError, ZeroDivisionError):
        return None
