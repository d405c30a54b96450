"""What the readers of providers' streams share: bytes become events, events become items, and a failure comes last."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from itertools import chain
from typing import Generic, Protocol, TypeVar

from sidecar.core.errors import SidecarError
from sidecar.core.results import CompletionDelta, StreamItem
from sidecar.services.calls import StreamFailedError, UnusableAnswerError

E = TypeVar("E")
E_co = TypeVar("E_co", covariant=True)


class Decoder(Protocol[E_co]):
    """Turns bytes, cut anywhere, into whole events.

    Both methods may be generators; a :class:`~sidecar.core.errors.SidecarError` that they raise ends the stream after
    the events before it.
    """

    def feed(self, data: bytes) -> Iterable[E_co]:
        """The events that ``data`` completes."""

    def finish(self) -> Iterable[E_co]:
        """The events still held back when the stream ends."""


class EventReader(ABC, Generic[E]):
    """A :class:`~sidecar.services.calls.StreamReader` over the events of a decoder; subclasses say what one means.

    Completion deltas that come together are one item, as in Elasticsearch: callers join them anyway.
    """

    def __init__(self, decoder: Decoder[E]) -> None:
        self._decoder = decoder

    @abstractmethod
    def read(self, event: E) -> list[StreamItem]:
        """The items of one event.

        Raises:
            SidecarError: the event reports a failure, or cannot be read.
            UnusableAnswerError: likewise, in the words of a reader of whole answers; its cause is what callers see.
        """

    def open(self, headers: Mapping[str, str]) -> None:
        """Most services have nothing to say about headers."""

    def feed(self, data: bytes) -> list[StreamItem]:
        return self._items(partial(self._decoder.feed, data))

    def finish(self) -> list[StreamItem]:
        return self._items(self._decoder.finish)

    def _items(self, events: Callable[[], Iterable[E]]) -> list[StreamItem]:
        items: list[StreamItem] = []
        try:
            for event in events():
                items += self.read(event)
        except UnusableAnswerError as error:
            raise StreamFailedError(_joined(items), error.cause) from None
        except SidecarError as error:
            raise StreamFailedError(_joined(items), error) from None
        return _joined(items)


def _joined(items: list[StreamItem]) -> list[StreamItem]:
    """All deltas as one item; a stream holds no other items beside deltas."""
    deltas = [item.deltas for item in items if isinstance(item, CompletionDelta)]
    return items if len(deltas) < 2 else [CompletionDelta(tuple(chain.from_iterable(deltas)))]
