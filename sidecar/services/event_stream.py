"""Amazon's binary event stream, read incrementally.

Source: Smithy, "Amazon Event Stream Specification" (``application/vnd.amazon.eventstream``).
"""

from __future__ import annotations

import struct
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from botocore.eventstream import EventStreamBuffer, ParserError

from sidecar.core.errors import OtherError, SidecarError
from sidecar.core.results import StreamItem
from sidecar.services.calls import StreamFailedError


@dataclass(frozen=True, slots=True)
class Frame:
    """One message. ``kind`` is ``event``, ``exception`` or ``error``; ``name`` says which."""

    kind: str
    name: str
    payload: bytes


class FrameDecoder:
    """Feeds on bytes cut anywhere and yields whole frames, their checksums verified."""

    def __init__(self) -> None:
        self._buffer = EventStreamBuffer()
        self._pending = 0

    def feed(self, data: bytes) -> tuple[list[Frame], SidecarError | None]:
        """The frames completed by ``data``, and the error that ends the stream after them, if there is one."""
        self._buffer.add_data(data)
        self._pending += len(data)
        frames: list[Frame] = []
        try:
            for message in self._buffer:
                self._pending -= message.prelude.total_length
                frames.append(_frame(message.headers, message.payload))
        except (ParserError, struct.error, KeyError, UnicodeDecodeError) as error:
            return frames, broken(str(error))
        return frames, None

    def finish(self) -> SidecarError | None:
        """The error of a stream that ends within a frame."""
        return broken("it ends within a frame") if self._pending else None


def broken(reason: str) -> SidecarError:
    return OtherError("i_o_exception", f"Broken event stream: {reason}", status=500)


def _frame(headers: Mapping[str, Any], payload: bytes) -> Frame:
    kind = str(headers.get(":message-type", "event"))
    if kind == "error":
        # an error that the service has not modelled has no payload
        return Frame(kind, str(headers.get(":error-code", "")), str(headers.get(":error-message", "")).encode())
    return Frame(kind, str(headers.get(f":{kind}-type", "")), payload)


class FrameStream(ABC):
    """A stream reader over frames; subclasses say what one frame means."""

    def __init__(self) -> None:
        self._frames = FrameDecoder()

    @abstractmethod
    def read(self, frame: Frame) -> list[StreamItem]:
        """The items of one frame.

        Raises:
            SidecarError: the frame reports a failure, or cannot be read.
        """

    def feed(self, data: bytes) -> list[StreamItem]:
        frames, failure = self._frames.feed(data)
        items: list[StreamItem] = []
        try:
            for frame in frames:
                items += self.read(frame)
        except StreamFailedError as error:
            raise StreamFailedError([*items, *error.items], error.error) from error
        except SidecarError as error:
            raise StreamFailedError(items, error) from error
        if failure is not None:
            raise StreamFailedError(items, failure)
        return items

    def finish(self) -> list[StreamItem]:
        failure = self._frames.finish()
        if failure is not None:
            raise StreamFailedError([], failure)
        return []
