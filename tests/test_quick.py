"""What ``make quick`` leaves out."""

import pytest

from tests import conftest


def test_every_fixture_of_a_node_is_known_to_be_one() -> None:
    assert {name for name in vars(conftest) if name.startswith("elasticsearch")} == conftest.NODE_FIXTURES


def test_a_quick_run_has_no_test_that_asks_for_a_node(request: pytest.FixtureRequest) -> None:
    asking = [item for item in request.session.items if conftest.fixtures_of(item) & conftest.NODE_FIXTURES]
    if request.config.getoption("--quick"):
        assert asking == []
    else:
        by_name = [item for item in asking if item.name.endswith(("[elasticsearch_8]", "[elasticsearch_9]"))]
        assert by_name or len(request.session.items) < 1000, "those that a parametrized fixture asks for"
