"""Amazon's binary frames, written by the layout of the specification and taken apart by it.

Source: Smithy, "Amazon Event Stream Specification".
"""

from __future__ import annotations

import struct
import zlib

from sidecar.services.event_stream import Frame

CONTENT_TYPE = "application/vnd.amazon.eventstream"
PRELUDE = 12


def encoded(frame: Frame) -> bytes:
    """A frame's bytes."""
    return framed({":message-type": frame.kind, f":{frame.kind}-type": frame.name}, frame.payload)


def framed(headers: dict[str, str], payload: bytes = b"") -> bytes:
    """A frame of string headers and a payload."""
    written = b""
    for name, value in headers.items():
        text = value.encode()
        written += struct.pack(">B", len(name)) + name.encode() + struct.pack(">BH", 7, len(text)) + text
    prelude = struct.pack(">II", 16 + len(written) + len(payload), len(written))
    message = prelude + struct.pack(">I", zlib.crc32(prelude)) + written + payload
    return message + struct.pack(">I", zlib.crc32(message))


def split(data: bytes) -> list[bytes]:
    """Whole frames, one by one."""
    frames = []
    while data:
        (length,) = struct.unpack_from(">I", data)
        frames.append(data[:length])
        data = data[length:]
    return frames


def payload_start(frame: bytes) -> int:
    """Where the payload begins, behind prelude and headers."""
    (headers,) = struct.unpack_from(">I", frame, 4)
    return PRELUDE + int(headers)


def replaced(frame: bytes, old: bytes, new: bytes) -> bytes:
    """The frame with other bytes in its payload, its lengths and checksums made to fit."""
    start = payload_start(frame)
    payload = frame[start:-4].replace(old, new)
    prelude = struct.pack(">II", start + len(payload) + 4, start - PRELUDE)
    message = prelude + struct.pack(">I", zlib.crc32(prelude)) + frame[PRELUDE:start] + payload
    return message + struct.pack(">I", zlib.crc32(message))
