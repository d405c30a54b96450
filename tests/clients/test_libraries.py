"""The libraries that people use, driven through their operations, and the examples of docs/clients.md.

``make clients`` makes the environments that they need; without them these tests are skipped.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest

from tests.clients import programs
from tests.clients.programs import (
    GO_PROGRAMS,
    JARS,
    JAVA,
    JAVASCRIPT_PACKAGES,
    LIBRARIES,
    NODE_MODULES,
    PYTHON_PROGRAMS,
)

MISSING = "the libraries are not there: make clients"


@pytest.fixture(scope="module")  # its endpoint's secret is none that sidecars of other tests could read
def front(elasticsearch_basic: str) -> Iterator[str]:
    with programs.front_with_chats(elasticsearch_basic) as url:
        yield url


@pytest.fixture(scope="session")
def libraries() -> None:
    if not LIBRARIES.exists():
        pytest.skip(MISSING)


@pytest.fixture(scope="session")
def node() -> None:
    if shutil.which("node") is None or not (NODE_MODULES / "node_modules" / JAVASCRIPT_PACKAGES[-1]).exists():
        pytest.skip(MISSING)


def check(program: str, url: str) -> None:
    rows = programs.run(program, url)
    assert rows
    assert [row for row in rows if not row.works] == []
    written = programs.written_operations()
    missing = {(row.client.rsplit(" ", 1)[0], row.operation) for row in rows} - written
    assert not missing, "renew the table in docs/clients.md with: python -m tests.clients.programs"


@pytest.mark.parametrize("program", PYTHON_PROGRAMS)
def test_python_libraries(libraries: None, front: str, program: str) -> None:
    check(program, front)


@pytest.mark.parametrize("package", JAVASCRIPT_PACKAGES)
def test_javascript_client(node: None, front: str, package: str) -> None:
    check(package, front)


def test_java_client(front: str) -> None:
    if shutil.which("java") is None or not list(JARS.glob("elasticsearch-java-*.jar")):
        pytest.skip(MISSING)
    check(JAVA, front)


@pytest.mark.parametrize("program", GO_PROGRAMS)
def test_typed_go_client(front: str, program: str) -> None:
    if not programs.go_client(program).exists():
        pytest.skip(MISSING)
    check(program, front)


@pytest.mark.parametrize("code", programs.examples("python"))
def test_examples_in_python(libraries: None, front: str, code: str) -> None:
    assert programs.run_python(code, front).strip()


@pytest.mark.parametrize("package", JAVASCRIPT_PACKAGES)
def test_examples_in_javascript(node: None, front: str, package: str) -> None:
    for code in programs.examples("js"):
        assert programs.run_javascript(code, front, package).strip()
