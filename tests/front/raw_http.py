"""HTTP as bytes on a socket: what was really sent and really answered, with nothing tidied up on the way."""

from __future__ import annotations

import asyncio
import json
import re
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import urlsplit

_OF_THE_CONNECTION = {"connection", "keep-alive", "transfer-encoding"}


@dataclass(frozen=True)
class RawAnswer:
    """``framing`` is ``chunked``, ``length N`` or ``close``; ``headers`` without those of the connection."""

    status_line: str
    headers: list[tuple[str, str]]
    framing: str
    body: bytes
    interim: tuple[str, ...] = ()

    @property
    def status(self) -> int:
        return int(self.status_line.split()[1])


async def exchange(base: str, request: bytes, *, is_head: bool = False) -> RawAnswer:
    """Sends ``request`` on a connection of its own and reads the answer."""
    reader, writer = await connect(base)
    try:
        writer.write(request)
        return await read_answer(reader, is_head=is_head)
    except (asyncio.IncompleteReadError, ConnectionResetError):
        return RawAnswer("closed without an answer", [], "close", b"")
    finally:
        writer.close()


async def connect(base: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    place = urlsplit(base)
    return await asyncio.open_connection(place.hostname, place.port, limit=2**20)


async def read_answer(reader: asyncio.StreamReader, *, is_head: bool = False) -> RawAnswer:
    interim = []
    while True:
        status_line, headers = await _head(reader)
        if not status_line.split()[1].startswith("1"):
            break
        interim.append(status_line)
    values = {name.lower(): value for name, value in headers}
    framing, body = "close", b""
    if values.get("transfer-encoding", "").lower() == "chunked":
        framing = "chunked"
        body = b"" if is_head else await _chunks(reader)
    elif "content-length" in values:
        framing = f"length {values['content-length']}"
        is_empty = is_head or status_line.split()[1] in ("204", "304")
        body = b"" if is_empty else await reader.readexactly(int(values["content-length"]))
    elif not is_head:
        body = await reader.read()
    kept = [(name, value) for name, value in headers if name.lower() not in _OF_THE_CONNECTION]
    return RawAnswer(status_line, kept, framing, body, tuple(interim))


async def _head(reader: asyncio.StreamReader) -> tuple[str, list[tuple[str, str]]]:
    lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")[:-2]
    pairs = (line.split(":", 1) for line in lines[1:])
    return lines[0], [(name, value.strip()) for name, value in pairs]


async def _chunks(reader: asyncio.StreamReader) -> bytes:
    parts = []
    while size := int((await reader.readline()).split(b";")[0], 16):
        parts.append(await reader.readexactly(size))
        await reader.readexactly(2)
    while (await reader.readline()).strip():
        pass
    return b"".join(parts)


def compose(method: str, target: str, headers: Iterable[tuple[str, str]] = (), body: bytes | None = None) -> bytes:
    """A request with its length, on a connection that is closed afterwards."""
    lines = [f"{method} {target} HTTP/1.1", "Host: node", "Connection: close"]
    lines += [f"{name}: {value}" for name, value in headers]
    if body is not None:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + (body or b"")


_VARYING = (
    (rb'"(took|ingest_took|took_millis|duration|time)"\s*:\s*\d+', rb'"\1":0'),
    (rb"(?m)^(took|ingest_took): \d+", rb"\1: 0"),
    (rb"dtook(?:[\x00-\x17]|\x18.|\x19..)", b"dtook"),  # CBOR
    (rb"(?s)\x83took(?:[\xc0-\xdf]|\x24.{1,5}?)(?=\x88timed_out)", b"took"),  # SMILE
    (rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[.\d]*Z?", b"DATE"),
    (rb"\b1[789]\d{11}\b", b"MILLIS"),
    (rb"byte offset: #\d+|\[-1:\d+\]", b"OFFSET"),
    (rb"(?<![\w-])[\w-]{20}(?![\w-])", b"ID20"),
    (rb"(?<![\w-])[\w-]{22}(?![\w-])", b"ID22"),
    (rb"(?<![\w-])[\w-]{60,400}={0,2}(?![\w-])", b"LONG-ID"),
)


def steady(body: bytes) -> bytes:
    """``body`` with durations, dates and generated ids made alike: they differ between two answers of one node."""
    for pattern, instead in _VARYING:
        body = re.sub(pattern, instead, body)
    return body


def outline(body: bytes) -> object:
    """What is steady in a body of figures that change while one looks: the names at the top, or that there is one."""
    try:
        value = json.loads(body)
    except ValueError:
        return bool(body)
    return sorted(value) if isinstance(value, dict) else type(value)


def plain(answer: RawAnswer) -> bytes:
    """The body without its ``Content-Encoding``: the same text is not always zipped to the same bytes."""
    coding = {name.lower(): value for name, value in answer.headers}.get("content-encoding")
    if not answer.body or coding not in ("gzip", "deflate"):
        return answer.body
    return zlib.decompressobj(31 if coding == "gzip" else 15).decompress(answer.body)
