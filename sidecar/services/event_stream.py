"""Amazon's binary event stream, read incrementally.

Source: Smithy, "Amazon Event Stream Specification" (``application/vnd.amazon.eventstream``).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from botocore.eventstream import EventStreamBuffer, EventStreamMessage, ParserError

from sidecar.core.errors import OtherError, SidecarError


@dataclass(frozen=True, slots=True)
class Frame:
    """One message. ``kind`` is ``event``, ``exception`` or ``error``; ``name`` says which."""

    kind: str
    name: str
    payload: bytes


class FrameDecoder:
    """Feeds on bytes cut anywhere and yields whole frames, their checksums verified.

    Both methods raise a :class:`~sidecar.core.errors.SidecarError` where the stream is damaged or ends within a frame.
    """

    def __init__(self) -> None:
        self._buffer = EventStreamBuffer()
        self._pending = 0

    def feed(self, data: bytes) -> Iterator[Frame]:
        self._buffer.add_data(data)
        self._pending += len(data)
        while (message := self._next()) is not None:
            self._pending -= message.prelude.total_length
            yield _frame(message.headers, message.payload)

    def finish(self) -> tuple[Frame, ...]:
        if self._pending:
            raise broken("it ends within a frame")
        return ()

    def _next(self) -> EventStreamMessage | None:
        try:
            return next(self._buffer, None)
        except (ParserError, struct.error, KeyError, UnicodeDecodeError) as error:
            raise broken(str(error)) from None


def broken(reason: str) -> SidecarError:
    return OtherError("i_o_exception", f"Broken event stream: {reason}", status=500)


def _frame(headers: Mapping[str, Any], payload: bytes) -> Frame:
    kind = str(headers.get(":message-type", "event"))
    if kind == "error":
        # an error that the service has not modelled has no payload
        return Frame(kind, str(headers.get(":error-code", "")), str(headers.get(":error-message", "")).encode())
    return Frame(kind, str(headers.get(f":{kind}-type", "")), payload)
