"""The account a node runs under: Elasticsearch refuses to run as root."""

import os
import stat
from pathlib import Path

NOBODY = 65534


def node_user() -> int | None:
    """The numeric user a node is started as, or None for our own (when we are not root)."""
    return NOBODY if os.geteuid() == 0 else None


def is_open_to(path: Path, user: int | None) -> bool:
    """Whether `user` may reach and read `path`, by the permission bits of everyone; None asks for ourselves."""
    if user is None:
        return os.access(path, os.R_OK)
    try:
        resolved = path.resolve(strict=True)
        if not all(folder.stat().st_mode & stat.S_IXOTH for folder in resolved.parents):
            return False
        mode = resolved.stat().st_mode
    except OSError:
        return False
    wanted = stat.S_IROTH | (stat.S_IXOTH if stat.S_ISDIR(mode) else 0)
    return mode & wanted == wanted
