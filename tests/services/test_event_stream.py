"""Amazon's binary frames: whole however the bytes are cut, and refused when they are damaged."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.core.errors import SidecarError
from sidecar.services.event_stream import Frame, FrameDecoder
from tests.services.frames import encoded, framed, split

# an example worked out by hand from the specification: one messageStop event of 122 bytes
EXAMPLE = bytes.fromhex(
    "0000007a00000051ca2c46650d3a6d6573736167652d747970650700056576656e740b3a6576656e742d7479706507000b"
    "6d65737361676553746f700d3a636f6e74656e742d747970650700106170706c69636174696f6e2f6a736f6e"
    "7b2273746f70526561736f6e223a22656e645f7475726e227d3dc33bfa"
)
NAMES = st.text(st.characters(min_codepoint=33, max_codepoint=0x2FFF), min_size=1, max_size=20)
FRAMES = st.builds(Frame, st.sampled_from(["event", "exception"]), NAMES, st.binary(max_size=60))


def read(decoder: FrameDecoder, data: bytes) -> tuple[list[Frame], SidecarError | None]:
    """The frames that ``data`` completes, and the error after them, if there is one."""
    frames: list[Frame] = []
    try:
        for frame in decoder.feed(data):
            frames.append(frame)
        decoder.finish()
    except SidecarError as error:
        return frames, error
    return frames, None


def test_the_example_is_read() -> None:
    assert read(FrameDecoder(), EXAMPLE) == ([Frame("event", "messageStop", b'{"stopReason":"end_turn"}')], None)


@given(st.lists(FRAMES, max_size=5), st.lists(st.integers(1, 40), min_size=1, max_size=12))
def test_frames_come_out_whole_wherever_the_bytes_are_cut(frames: list[Frame], cuts: list[int]) -> None:
    data, decoder = b"".join(encoded(frame) for frame in frames), FrameDecoder()
    assert split(data) == [encoded(frame) for frame in frames]
    found: list[Frame] = []
    position = turn = 0
    while position < len(data):
        size = cuts[turn % len(cuts)]
        found += decoder.feed(data[position : position + size])
        position, turn = position + size, turn + 1
    assert found == frames
    assert decoder.finish() == ()


@given(st.integers(0, len(EXAMPLE) - 1), st.integers(0, 7))
def test_a_flipped_bit_is_noticed(position: int, bit: int) -> None:
    damaged = bytearray(EXAMPLE)
    damaged[position] ^= 1 << bit
    frames, error = read(FrameDecoder(), bytes(damaged))
    assert frames == []
    assert error is not None


def test_a_stream_that_ends_within_a_frame_is_an_error() -> None:
    frames, error = read(FrameDecoder(), EXAMPLE + EXAMPLE[:-1])
    assert len(frames) == 1
    assert error is not None
    assert (error.type, error.status) == ("i_o_exception", 500)
    assert error.reason == "Broken event stream: it ends within a frame"


def test_an_unmodelled_error_tells_its_code_and_message() -> None:
    data = framed({":message-type": "error", ":error-code": "Internal", ":error-message": "no luck"})
    assert read(FrameDecoder(), data) == ([Frame("error", "Internal", b"no luck")], None)


@pytest.mark.parametrize("damaged", [-5, 20])
def test_what_came_before_the_damage_is_kept(damaged: int) -> None:
    second = bytearray(encoded(Frame("event", "b", b"2")))
    second[damaged] ^= 1
    frames, error = read(FrameDecoder(), encoded(Frame("event", "a", b"1")) + bytes(second))
    assert frames == [Frame("event", "a", b"1")]
    assert error is not None
    assert (error.reason or "").startswith("Broken event stream: Checksum mismatch")
