"""Real Elasticsearch nodes for every test that asks for one; where none asks, none is started."""

import os
from collections.abc import Iterator
from typing import NoReturn

import pytest
from hypothesis import settings

from tools.elasticsearch.pool import Kind, NodePool
from tools.elasticsearch_node import Line, NodeFailedError, NodeUnavailableError, choose_line

WITHOUT = "TESTS_WITHOUT_ELASTICSEARCH"
"""Set it to 1 to skip, rather than fail, what needs a node that cannot be had."""

LINES: tuple[Line, ...] = ("8", "9")
# Some ask for others by a name that is made when they run, which no list of a test's fixtures shows.
NODE_FIXTURES = frozenset(
    {"elasticsearch_nodes", "elasticsearch", "elasticsearch_basic", *(f"elasticsearch_{line}" for line in LINES)}
)

# How long an example takes depends on the machine, and says nothing of what is tested.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--quick", action="store_true", help="leave out what needs an Elasticsearch or is marked slow")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not config.getoption("--quick"):
        return
    left_out = [item for item in items if _fixtures(item) & NODE_FIXTURES or item.get_closest_marker("slow")]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in set(left_out)]


def _fixtures(item: pytest.Item) -> set[str]:
    return set(getattr(item, "fixturenames", ()))


@pytest.fixture(scope="session")
def elasticsearch_nodes(request: pytest.FixtureRequest) -> Iterator[NodePool]:
    """The shared nodes; with the first one asked for, all that the selected tests need begin to start."""
    pool = NodePool()
    try:
        pool.start(_wanted(request.session.items))
    except NodeUnavailableError as error:
        _without(error)
    yield pool
    pool.close()


@pytest.fixture(scope="session", autouse=True)
def _early_start(request: pytest.FixtureRequest) -> None:
    """Begins with the nodes that the selected tests need, so that they come up while the other tests run."""
    try:
        wanted = _wanted(request.session.items)
    except NodeUnavailableError:
        return  # the tests that need one say so
    if wanted:
        request.getfixturevalue("elasticsearch_nodes")


@pytest.fixture(scope="session")
def elasticsearch_8(elasticsearch_nodes: NodePool) -> str:
    """The URL of a node of line 8 with a trial licence."""
    return _url(elasticsearch_nodes, ("8", "trial"))


@pytest.fixture(scope="session")
def elasticsearch_9(elasticsearch_nodes: NodePool) -> str:
    """The URL of a node of line 9 with a trial licence."""
    return _url(elasticsearch_nodes, ("9", "trial"))


@pytest.fixture(scope="session", params=LINES, ids=[f"elasticsearch-{line}" for line in LINES])
def elasticsearch(request: pytest.FixtureRequest) -> str:
    """The URL of a node with a trial licence: the test runs once on each line."""
    url: str = request.getfixturevalue(f"elasticsearch_{request.param}")
    return url


@pytest.fixture(scope="session")
def elasticsearch_basic(elasticsearch_nodes: NodePool) -> str:
    """The URL of a node with a basic licence: line 9, or 8 on a machine that cannot run 9."""
    return _url(elasticsearch_nodes, (choose_line(), "basic"))


def _wanted(items: list[pytest.Item]) -> set[Kind]:
    kinds: set[Kind] = set()
    for item in items:
        names = _fixtures(item)
        if "elasticsearch" in names and isinstance(item, pytest.Function):
            names.add(f"elasticsearch_{item.callspec.params['elasticsearch']}")
        kinds |= {(line, "trial") for line in LINES if f"elasticsearch_{line}" in names}
        if "elasticsearch_basic" in names:
            kinds.add((choose_line(), "basic"))
    return kinds


def _url(pool: NodePool, kind: Kind) -> str:
    try:
        return pool.node(*kind).url
    except (NodeUnavailableError, NodeFailedError) as error:
        _without(error)


def _without(error: NodeUnavailableError | NodeFailedError) -> NoReturn:
    if isinstance(error, NodeUnavailableError) and os.environ.get(WITHOUT) == "1":
        pytest.skip(str(error))
    pytest.fail(str(error), pytrace=False)
