"""``Content-Encoding`` of request bodies: gzip and deflate, as Elasticsearch takes them.

Others are left alone, as there: the body is then read as it is. Where a body is not what its encoding says,
Elasticsearch closes the connection without an answer.
"""

from __future__ import annotations

import zlib

from sidecar.core.errors import IllegalArgumentError, PlainError

_GZIP = 16 + zlib.MAX_WBITS


class BodyTooLargeError(PlainError):
    """A body grows beyond its limit when it is unzipped."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"Maximum request body size {limit} exceeded", status=413)


class Decoder:
    """Unzips a body piece by piece; at most ``limit`` bytes come out in all (``None``: no limit)."""

    def __init__(self, content_encoding: str | None, limit: int | None = None) -> None:
        self._coding = (content_encoding or "").strip().lower()
        self._limit = limit
        self._size = 0
        self._started = False
        self._inner: zlib._Decompress | None = None

    def feed(self, data: bytes) -> bytes:
        """The plain bytes that ``data`` adds.

        Raises:
            IllegalArgumentError: it is not in the encoding named.
            BodyTooLargeError: the limit is passed.
        """
        if not self._started and data:
            self._started = True
            self._inner = self._decompressor(data)
        if self._inner is None:
            return self._counted(data)
        parts = []
        while data:
            room = 0 if self._limit is None else self._limit - self._size + 1
            try:
                parts.append(self._counted(self._inner.decompress(data, room)))
            except zlib.error as error:
                raise IllegalArgumentError(f"the body is not [{self._coding}]: {error}") from None
            data = self._inner.unconsumed_tail
            if self._inner.eof and self._inner.unused_data:
                # Several members, one behind the other, are one body.
                data = self._inner.unused_data
                self._inner = zlib.decompressobj(_GZIP)
        return b"".join(parts)

    def finish(self) -> bytes:
        """What is left at the end of the body.

        Raises:
            IllegalArgumentError: it breaks off.
        """
        if self._inner is not None and not self._inner.eof:
            raise IllegalArgumentError(f"the [{self._coding}] body breaks off")
        return b""

    def _decompressor(self, first: bytes) -> zlib._Decompress | None:
        if self._coding in ("gzip", "x-gzip"):
            return zlib.decompressobj(_GZIP)
        if self._coding in ("deflate", "x-deflate"):
            # "deflate" means the zlib format; bare deflate is sent under that name as well.
            is_zlib = (first[0] & 0x0F) == 8 and (len(first) < 2 or (first[0] * 256 + first[1]) % 31 == 0)
            return zlib.decompressobj(zlib.MAX_WBITS if is_zlib else -zlib.MAX_WBITS)
        return None

    def _counted(self, data: bytes) -> bytes:
        self._size += len(data)
        if self._limit is not None and self._size > self._limit:
            raise BodyTooLargeError(self._limit)
        return data


def decoded(data: bytes, content_encoding: str | None, limit: int | None = None) -> bytes:
    """A whole body unzipped; see :class:`Decoder` for what it raises."""
    decoder = Decoder(content_encoding, limit)
    return decoder.feed(data) + decoder.finish()
