"""Providers, and gateways before them, that answer a streaming call with one body: mostly an error, or a page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sidecar.core.results import StreamItem
from sidecar.services.calls import Call, ProviderAnswer, StreamFailedError
from sidecar.services.failures import Failures, Words

# enough for any error; a whole answer need not be kept
_KEPT_BYTES = 64 * 1024
_QUOTED = 300
# What no event begins with, in a body that is said to be events, or said to be nothing that streams.
_NO_EVENT = (b"{", b"[", b"<")
_OF_EVENTS = frozenset({"", "text/event-stream", "text/html", "text/plain"})


class WholeAnswer:
    """Looks at a stream until something comes out of it."""

    def __init__(self, headers: Mapping[str, str]) -> None:
        self._headers = {name.lower(): value for name, value in headers.items()}
        kind = self._headers.get("content-type", "").partition(";")[0].strip().lower()
        self._is_json = kind == "application/json"
        self._is_suspect = self._is_json or kind in _OF_EVENTS
        self._body = bytearray()
        self.has_items = False

    def look(self, data: bytes, items: Sequence[StreamItem]) -> None:
        """Hear of bytes, and of what a reader made of them."""
        self.has_items = self.has_items or bool(items)
        if self._is_suspect and not self.has_items and len(self._body) < _KEPT_BYTES:
            self._body += data

    def check(self, failures: Failures, call: Call) -> None:
        """Raise what the body says, where it was all that came.

        Raises:
            StreamFailedError: the provider did not stream.
        """
        text = bytes(self._body).decode("utf-8", "replace").strip()
        if self.has_items or not text or not (self._is_json or self._body.lstrip().startswith(_NO_EVENT)):
            return
        words = failures.words(ProviderAnswer(200, self._headers, bytes(self._body)))
        quoted = text[:_QUOTED] + ("..." if len(text) > _QUOTED else "")
        what = "JSON body" if self._is_json else "body that is no stream"
        words = words or Words(f"The provider answered a streaming call with one {what}: {quoted}")
        raise StreamFailedError([], failures.stream_error(words, call))
