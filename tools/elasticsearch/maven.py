"""Fetching a release's carrier archive with Maven, from whatever repositories the user's Maven is set up for."""

import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tools.elasticsearch.release import Release, WayClosedError

Say = Callable[[str], None]

_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_MAVEN = ("mvn", "-B", "-Dstyle.color=never")
_SECONDS_BETWEEN_LINES = 5.0


@contextmanager
def carrier_archive(release: Release, log: Path, say: Say) -> Iterator[Path]:
    """The archive of `release` as a file; one that was not in the local repository before is deleted afterwards.

    Raises:
        WayClosedError: Maven is missing or could not fetch the archive; its output is in `log`.
    """
    if shutil.which("mvn") is None:
        raise WayClosedError("mvn was not found on the PATH")
    group, artifact, version = release.carrier.split(":")
    folder = _local_repository() / Path(*group.split(".")) / artifact / version
    archive = folder / f"{artifact}-{version}.zip"
    was_there = archive.exists()
    if not was_there:
        gigabytes = release.archive_megabytes / 1000
        say(f"Elasticsearch {release.version}: about {gigabytes:.2f} GB through Maven ({release.carrier}), once")
    try:
        _get(release, folder, log, say)
        if not archive.is_file():
            raise WayClosedError(f"mvn reported success, but {archive} is not there")
        yield archive
    finally:
        if not was_there:
            shutil.rmtree(folder, ignore_errors=True)


def _local_repository() -> Path:
    question = [*_MAVEN, "-q", "help:evaluate", "-Dexpression=settings.localRepository", "-DforceStdout"]
    done = subprocess.run(question, capture_output=True, text=True, check=False)
    answer = Path(_COLOUR.sub("", done.stdout).strip())
    if done.returncode == 0 and answer.is_absolute():
        return answer
    return Path.home() / ".m2" / "repository"


def _get(release: Release, folder: Path, log: Path, say: Say) -> None:
    command = [*_MAVEN, "-C", "dependency:get", f"-Dartifact={release.carrier}:zip", "-Dtransitive=false"]
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT)
        try:
            _watch(process, folder, release.archive_megabytes, say)
        finally:
            if process.poll() is None:
                process.terminate()
            process.wait()
    if process.returncode != 0:
        text = log.read_text(errors="replace")
        errors = [line.removeprefix("[ERROR]").strip() for line in text.splitlines() if line.startswith("[ERROR]")]
        cause = errors[0] if errors else f"it ended with status {process.returncode}"
        raise WayClosedError(f"mvn could not fetch {release.carrier}: {cause.rstrip('.')} (all of it in {log})")


def _watch(process: subprocess.Popen[bytes], folder: Path, total_megabytes: int, say: Say) -> None:
    last = time.monotonic()
    while process.poll() is None:
        time.sleep(0.2)
        if time.monotonic() - last < _SECONDS_BETWEEN_LINES:
            continue
        last = time.monotonic()
        if here := _largest_megabytes(folder):
            share = min(100, round(100 * here / total_megabytes))
            say(f"  {here:.0f} of about {total_megabytes} MB ({share} %)")


def _largest_megabytes(folder: Path) -> float:
    try:
        return max((entry.stat().st_size for entry in folder.iterdir()), default=0) / 1e6
    except OSError:  # not created yet, or a partial file was renamed under our eyes
        return 0.0


def to_stderr(message: str) -> None:
    """Say something to whoever waits, without disturbing what a program prints."""
    print(message, file=sys.stderr, flush=True)
