"""Providers, and gateways before them, that answer a streaming call with one JSON body: mostly an error."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sidecar.core.results import StreamItem
from sidecar.services.calls import Call, ProviderAnswer, StreamFailedError
from sidecar.services.failures import Failures, Words

# enough for any error; a whole answer need not be kept
_KEPT_BYTES = 64 * 1024
_QUOTED = 300


class WholeAnswer:
    """Looks at a stream until something comes out of it."""

    def __init__(self, headers: Mapping[str, str]) -> None:
        self._headers = {name.lower(): value for name, value in headers.items()}
        self._is_suspect = self._headers.get("content-type", "").partition(";")[0].strip() == "application/json"
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
        if self.has_items or not text:
            return
        words = failures.words(ProviderAnswer(200, self._headers, bytes(self._body)))
        quoted = text[:_QUOTED] + ("..." if len(text) > _QUOTED else "")
        words = words or Words(f"The provider answered a streaming call with one JSON body: {quoted}")
        raise StreamFailedError([], failures.stream_error(words, call))
