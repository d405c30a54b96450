"""What ``make quick`` leaves out."""

from tests import conftest


def test_every_fixture_of_a_node_is_known_to_be_one() -> None:
    assert {name for name in vars(conftest) if name.startswith("elasticsearch")} == conftest.NODE_FIXTURES
