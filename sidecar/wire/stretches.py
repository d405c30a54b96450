"""Large texts in stretches: one call of a C library lets no other thread run, so it gets no more than milliseconds."""

from __future__ import annotations

import codecs
import io

STRETCH = 256 * 1024
"""Bytes or letters that one such call goes through: a millisecond or two."""


def decoded(data: bytes, encoding: str = "utf-8") -> str:
    """``data.decode(encoding)``; raises ``UnicodeDecodeError``."""
    if len(data) <= STRETCH:
        return data.decode(encoding)
    decoder = codecs.getincrementaldecoder(encoding)()
    parts = [decoder.decode(data[at : at + STRETCH]) for at in range(0, len(data), STRETCH)]
    parts.append(decoder.decode(b"", final=True))
    return "".join(parts)


def encoded(text: str) -> bytes:
    """``text.encode()``; raises ``UnicodeEncodeError``."""
    return b"".join([text[at : at + STRETCH].encode() for at in range(0, len(text), STRETCH)])


class Steps(io.BytesIO):
    """A stream read by Python code, so that other threads have their turn between two reads of a library."""

    def read(self, size: int | None = -1) -> bytes:
        """Up to ``size`` bytes."""
        return super().read(size)
