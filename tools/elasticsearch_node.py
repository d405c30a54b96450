"""A real Elasticsearch node for tests, demo and benchmarks.

    with start_node(line="9", license="basic") as node:
        print(node.url, node.version)

From a shell, until Ctrl-C: `python -m tools.elasticsearch_node --line 9 --license trial`.

Where it comes from, the first way that is open:
  ELASTICSEARCH_URL   a cluster of that line that runs already: used as it is and left running
  ES_HOME             an unpacked distribution of that line
  Docker              the official image
  Maven and Java      the official distribution, fetched once into a cache folder
A node that we start listens on loopback, has a directory of its own, and ends with the process that asked for it, even
when that is killed.
"""

import argparse
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from tools.elasticsearch.container import container_launch, daemon
from tools.elasticsearch.distribution import Distribution, cached_distribution, home_distribution
from tools.elasticsearch.java import find_java
from tools.elasticsearch.launch import Launch, Setting, Wish, local_launch
from tools.elasticsearch.maven import Say, to_stderr
from tools.elasticsearch.node import Node, NodeFailedError, NodeUnavailableError, running, running_version
from tools.elasticsearch.release import RELEASES, License, Line, Release, WayClosedError

__all__ = ["License", "Line", "Node", "NodeFailedError", "NodeUnavailableError", "choose_line", "start_node"]

_PATIENCE_SECONDS = 240.0
"""A start takes 10 to 35 s on two cores; several at once, with tests running beside them, take a multiple of that."""


@contextmanager
def start_node(
    line: Line = "9",
    license: License = "basic",
    *,
    port: int = 0,
    heap: str = "512m",
    settings: Mapping[str, Setting] | None = None,
    patience: float = _PATIENCE_SECONDS,
    say: Say = to_stderr,
) -> Iterator[Node]:
    """A node of `line`, ready for requests; it ends when the block is left.

    Args:
        line: "8" (8.19.8) or "9" (9.4.3); an external cluster or ES_HOME may hold another version of the line.
        license: "basic" or "trial"; a cluster that runs already keeps the one it has.
        port: HTTP port on loopback; 0 picks a free one.
        heap: size of the Java heap.
        settings: further settings for elasticsearch.yml.
        patience: seconds to wait for the node to answer.
        say: takes the lines for whoever waits (downloads); default: the error output.

    Raises:
        NodeUnavailableError: no way is open; one sentence names them all.
        NodeFailedError: a node was started and did not come up; with the end of its log.
    """
    release = RELEASES[line]
    external, why_not = _external(release)
    if external is not None:
        yield external
        return
    launch = _first_open_way(release, Wish(license, port, heap, settings or {}), say, why_not)
    with running(launch, patience) as node:
        yield node


def choose_line() -> Line:
    """The line for programs that run on either: that of ELASTICSEARCH_URL or ES_HOME, else 9, else 8.

    Line 8 is for machines that have neither a Docker daemon nor a Java of version 21 or newer.
    """
    if url := os.environ.get("ELASTICSEARCH_URL"):
        return "8" if running_version(url).startswith("8.") else "9"
    try:
        return "8" if home_distribution().line == "8" else "9"
    except WayClosedError:
        pass
    for is_open in (daemon, lambda: find_java(RELEASES["9"])):
        try:
            is_open()
        except WayClosedError:
            continue
        return "9"
    return "8"


def _external(release: Release) -> tuple[Node | None, str]:
    """The cluster that ELASTICSEARCH_URL names, or why it is not the one."""
    url = os.environ.get("ELASTICSEARCH_URL", "").rstrip("/")
    if not url:
        return None, "it is not set"
    version = running_version(url)
    if version.split(".")[0] != release.line:
        return None, f"it names {version}"
    return Node(url, version, "ELASTICSEARCH_URL"), ""


def _first_open_way(release: Release, wish: Wish, say: Say, why_no_url: str) -> Launch:
    ways: list[tuple[str, Callable[[], Launch]]] = [
        ("set ES_HOME to an unpacked distribution of that line", lambda: _from_home(release, wish)),
        ("start a Docker daemon", lambda: container_launch(release, wish, say)),
        (f"install Maven and a full Java {release.java} or newer", lambda: _from_maven(release, wish, say)),
    ]
    closed = [f"set ELASTICSEARCH_URL to a cluster of line {release.line} ({why_no_url})"]
    for advice, way in ways:
        try:
            return way()
        except WayClosedError as reason:
            closed.append(f"{advice} ({reason})")
    raise NodeUnavailableError(f"No Elasticsearch {release.version} can be had here: {', or '.join(closed)}.")


def _from_home(release: Release, wish: Wish) -> Launch:
    distribution = home_distribution()
    if distribution.line != release.line:
        raise WayClosedError(f"it holds {distribution.version}")
    return _on_this_machine(distribution, release, wish)


def _from_maven(release: Release, wish: Wish, say: Say) -> Launch:
    find_java(release)  # asked first: without it the download would be for nothing
    return _on_this_machine(cached_distribution(release, say), release, wish)


def _on_this_machine(distribution: Distribution, release: Release, wish: Wish) -> Launch:
    return local_launch(distribution, find_java(release, distribution.bundled_java), wish)


def main(arguments: list[str] | None = None) -> int:
    """Run one node until Ctrl-C or SIGTERM; its URL is the only line on the standard output."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.elasticsearch_node", description="Run one Elasticsearch node."
    )
    parser.add_argument("--line", choices=sorted(RELEASES), help="default: 9, or 8 where only an older Java is there")
    parser.add_argument("--license", choices=["basic", "trial"], default="basic")
    parser.add_argument("--port", type=int, default=0, help="HTTP port on loopback; default: any free one")
    parser.add_argument("--heap", default="512m", help="Java heap; default: 512m")
    options = parser.parse_args(arguments)
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: sys.exit(0))
    try:
        with start_node(options.line or choose_line(), options.license, port=options.port, heap=options.heap) as node:
            to_stderr(f"Elasticsearch {node.version} ({node.origin}); Ctrl-C ends it")
            print(node.url, flush=True)
            stop.wait()
    except (NodeUnavailableError, NodeFailedError) as error:
        to_stderr(str(error))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
