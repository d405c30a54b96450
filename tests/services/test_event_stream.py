"""Amazon's binary frames: whole however the bytes are cut, and refused when they are damaged."""

from __future__ import annotations

import struct
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.core.results import CompletionDelta, StreamItem
from sidecar.services.calls import StreamFailedError
from sidecar.services.event_stream import Frame, FrameDecoder, FrameStream

# an example worked out by hand from the specification: one messageStop event of 122 bytes
EXAMPLE = bytes.fromhex(
    "0000007a00000051ca2c46650d3a6d6573736167652d747970650700056576656e740b3a6576656e742d7479706507000b"
    "6d65737361676553746f700d3a636f6e74656e742d747970650700106170706c69636174696f6e2f6a736f6e"
    "7b2273746f70526561736f6e223a22656e645f7475726e227d3dc33bfa"
)
NAMES = st.text(st.characters(min_codepoint=33, max_codepoint=0x2FFF), min_size=1, max_size=20)
FRAMES = st.builds(Frame, st.sampled_from(["event", "exception"]), NAMES, st.binary(max_size=60))


def encoded(frame: Frame) -> bytes:
    """A frame's bytes, by the specification's layout."""
    headers = b""
    for name, value in ((":message-type", frame.kind), (f":{frame.kind}-type", frame.name)):
        text = value.encode()
        headers += struct.pack(">B", len(name)) + name.encode() + struct.pack(">BH", 7, len(text)) + text
    prelude = struct.pack(">II", 16 + len(headers) + len(frame.payload), len(headers))
    message = prelude + struct.pack(">I", zlib.crc32(prelude)) + headers + frame.payload
    return message + struct.pack(">I", zlib.crc32(message))


def test_the_example_is_read() -> None:
    decoder = FrameDecoder()
    assert decoder.feed(EXAMPLE) == ([Frame("event", "messageStop", b'{"stopReason":"end_turn"}')], None)
    assert decoder.finish() is None


@given(st.lists(FRAMES, max_size=5), st.lists(st.integers(1, 40), min_size=1, max_size=12))
def test_frames_come_out_whole_wherever_the_bytes_are_cut(frames: list[Frame], cuts: list[int]) -> None:
    data, decoder, found = b"".join(encoded(frame) for frame in frames), FrameDecoder(), []
    position = turn = 0
    while position < len(data):
        size = cuts[turn % len(cuts)]
        read, error = decoder.feed(data[position : position + size])
        assert error is None
        found += read
        position, turn = position + size, turn + 1
    assert found == frames
    assert decoder.finish() is None


@given(st.integers(0, len(EXAMPLE) - 1), st.integers(0, 7))
def test_a_flipped_bit_is_noticed(position: int, bit: int) -> None:
    damaged = bytearray(EXAMPLE)
    damaged[position] ^= 1 << bit
    decoder = FrameDecoder()
    frames, error = decoder.feed(bytes(damaged))
    assert frames == []
    assert error is not None or decoder.finish() is not None


def test_a_stream_that_ends_within_a_frame_is_an_error() -> None:
    decoder = FrameDecoder()
    assert decoder.feed(EXAMPLE[:-1]) == ([], None)
    failure = decoder.finish()
    assert failure is not None
    assert failure.reason == "Broken event stream: it ends within a frame"


def test_an_unmodelled_error_tells_its_code_and_message() -> None:
    headers = b""
    for name, value in ((":message-type", "error"), (":error-code", "Internal"), (":error-message", "no luck")):
        headers += struct.pack(">B", len(name)) + name.encode() + struct.pack(">BH", 7, len(value)) + value.encode()
    prelude = struct.pack(">II", 16 + len(headers), len(headers))
    message = prelude + struct.pack(">I", zlib.crc32(prelude)) + headers
    frames, error = FrameDecoder().feed(message + struct.pack(">I", zlib.crc32(message)))
    assert (frames, error) == ([Frame("error", "Internal", b"no luck")], None)


class Payloads(FrameStream):
    """A reader whose items are the payloads."""

    def read(self, frame: Frame) -> list[StreamItem]:
        return [CompletionDelta((frame.payload.decode(),))]


def test_what_came_before_the_damage_is_kept() -> None:
    first = Frame("event", "a", b"1")
    second = bytearray(encoded(Frame("event", "b", b"2")))
    second[-5] ^= 1
    with pytest.raises(StreamFailedError) as caught:
        Payloads().feed(encoded(first) + bytes(second))
    assert caught.value.items == [CompletionDelta(("1",))]
    assert (caught.value.error.type, caught.value.error.status) == ("i_o_exception", 500)
