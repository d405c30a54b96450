"""Real Elasticsearch nodes for every test that asks for one; where none asks, none is started."""

import os
from collections.abc import Iterator
from typing import NoReturn

import pytest
from hypothesis import settings

from tools.elasticsearch.launch import Setting
from tools.elasticsearch.pool import Kind, NodePool
from tools.elasticsearch_node import Line, NodeFailedError, NodeUnavailableError, choose_line, start_node

WITHOUT = "TESTS_WITHOUT_ELASTICSEARCH"
"""Set it to 1 to skip, rather than fail, what needs a node that cannot be had."""

LINES: tuple[Line, ...] = ("8", "9")
# Some ask for others by a name that is made when they run, which no list of a test's fixtures shows.
NODE_FIXTURES = frozenset(
    {
        "elasticsearch_nodes",
        "elasticsearch",
        "elasticsearch_basic",
        "elasticsearch_secured",
        *(f"elasticsearch_{line}" for line in LINES),
    }
)
QUICK_EXAMPLES = 20
"""How many examples hypothesis tries in a quick run, where a test does not say it itself; 100 otherwise."""

# Whoever brings no credentials may do everything, so that the first user can be made.
SECURITY: dict[str, Setting] = {
    "xpack.security.enabled": True,
    "xpack.security.enrollment.enabled": False,
    "xpack.security.http.ssl.enabled": False,
    "xpack.security.transport.ssl.enabled": False,
    "xpack.security.authc.anonymous.username": "admin",
    "xpack.security.authc.anonymous.roles": "superuser",
}

# How long an example takes depends on the machine, and says nothing of what is tested.
settings.register_profile("untimed", deadline=None)
settings.register_profile("quick", deadline=None, max_examples=QUICK_EXAMPLES)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--quick", action="store_true", help="leave out what needs an Elasticsearch or is marked slow")


def pytest_configure(config: pytest.Config) -> None:
    settings.load_profile("quick" if config.getoption("--quick") else "untimed")


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """One worker more than there are cores: many a test waits for a time limit to pass."""
    return (os.cpu_count() or 1) + 1


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not config.getoption("--quick"):
        return
    left_out = {item for item in items if fixtures_of(item) & NODE_FIXTURES or item.get_closest_marker("slow")}
    config.hook.pytest_deselected(items=list(left_out))
    items[:] = [item for item in items if item not in left_out]


def fixtures_of(item: pytest.Item) -> set[str]:
    """The fixtures of a test, those among them that a parametrized fixture asks for by name."""
    parameters = item.callspec.params.values() if hasattr(item, "callspec") else ()
    by_name = {value for value in parameters if isinstance(value, str) and value.startswith("elasticsearch_")}
    return {*getattr(item, "fixturenames", ()), *by_name}


def _no_node_in_a_quick_run(request: pytest.FixtureRequest) -> None:
    if request.config.getoption("--quick"):
        pytest.fail("a quick run starts no node: mark the test slow, or name the node's fixture", pytrace=False)


@pytest.fixture(scope="session")
def elasticsearch_nodes(request: pytest.FixtureRequest) -> Iterator[NodePool]:
    """The shared nodes; with the first one asked for, all that the selected tests need begin to start."""
    _no_node_in_a_quick_run(request)
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


@pytest.fixture(scope="module")  # users, keys and endpoints of one module are nothing to another
def elasticsearch_secured(request: pytest.FixtureRequest) -> Iterator[str]:
    """The URL of a node with security, on which whoever says nothing may do what it takes to make a superuser.

    It is always one of the tests' own: a cluster that runs already is none of theirs to make users in.
    """
    _no_node_in_a_quick_run(request)
    if "ELASTICSEARCH_URL" in os.environ:
        pytest.skip("ELASTICSEARCH_URL names a cluster, and this needs a node with security of its own")
    try:
        with start_node(choose_line(), settings=SECURITY) as node:
            yield node.url
    except (NodeUnavailableError, NodeFailedError) as error:
        _without(error)


def _wanted(items: list[pytest.Item]) -> set[Kind]:
    kinds: set[Kind] = set()
    for item in items:
        names = fixtures_of(item)
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
