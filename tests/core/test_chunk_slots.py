"""Slots: how more than 512 chunks of one text become 512, as seen on real Elasticsearch nodes."""

from hypothesis import given
from hypothesis import strategies as st

from sidecar.core.chunking import Chunk, merge_chunks, slots
from sidecar.core.chunking.slots import MOST_CHUNKS


def test_1301_chunks_share_slots_as_on_a_node() -> None:
    # Elasticsearch 8.19.8 and 9.4.3 merged the first chunks of 1301 in groups of these sizes.
    assert [list(slot) for slot in slots(1301)[:4]] == [[0, 1, 2], [3, 4, 5], [6, 7], [8, 9, 10]]


@given(st.integers(0, 5000), st.integers(1, 600))
def test_every_chunk_lies_in_one_slot_in_order(count: int, most: int) -> None:
    made = slots(count, most)
    assert [chunk for slot in made for chunk in slot] == list(range(count))
    assert len(made) == min(count, most)
    if count > most:
        assert all(chunk * most // count == number for number, slot in enumerate(made) for chunk in slot)


def test_no_more_chunks_than_slots_stay_alone() -> None:
    assert [list(slot) for slot in slots(MOST_CHUNKS)] == [[n] for n in range(MOST_CHUNKS)]


def test_offsets_are_extended_over_all_chunks_of_a_slot() -> None:
    assert merge_chunks([Chunk(0, 34), Chunk(30, 68), Chunk(64, 101)]) == Chunk(0, 101)
