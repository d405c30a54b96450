"""Separators: regular expressions of Java's dialect, in which Elasticsearch's chunking settings are written.

They run on ``regex``, whose version 1 knows Java's nested sets, properties, possessive quantifiers and atomic groups.
What the two read differently is rewritten: Java's predefined classes hold ASCII only, lines end at more characters than
``\\n``, and a few escapes have other names. Not rewritten: ``\\p{Punct}`` and its like hold more than ASCII.
Source: Java's API reference, ``java.util.regex.Pattern``.
"""

from __future__ import annotations

import time
from functools import lru_cache

import regex

from sidecar.core.errors import IllegalArgumentError

# A separator is a user's pattern on a user's text: one that backtracks without end must not hold the process. Ordinary
# ones take 0.04 s for a megabyte.
MATCH_SECONDS = 2.0

_SPACE = r"\t\n\x0b\f\r "
_WORD = "A-Za-z0-9_"
_BLANK = r" \t\xa0\u1680\u180e\u2000-\u200a\u202f\u205f\u3000"
_LINE = r"\n\x0b\f\r\x85\u2028\u2029"
_BOUNDARY = f"(?<=[{_WORD}])(?![{_WORD}])|(?<![{_WORD}])(?=[{_WORD}])"
_INSIDE = f"(?<=[{_WORD}])(?=[{_WORD}])|(?<![{_WORD}])(?![{_WORD}])"
_ESCAPES = {
    "s": f"[{_SPACE}]",
    "S": f"[^{_SPACE}]",
    "d": "[0-9]",
    "D": "[^0-9]",
    "w": f"[{_WORD}]",
    "W": f"[^{_WORD}]",
    "h": f"[{_BLANK}]",
    "H": f"[^{_BLANK}]",
    "v": f"[{_LINE}]",
    "V": f"[^{_LINE}]",
    "b": f"(?:{_BOUNDARY})",
    "B": f"(?:{_INSIDE})",
    "e": r"\x1b",
    "z": r"\Z",
    "Z": r"(?=\n?\Z)",
}
_END = r"\n\r\x85\u2028\u2029"
_OUTSIDE_CLASSES = {
    ".": f"[^{_END}]",
    "^": r"(?:\A|(?!\Z)(?:(?<=[\n\x85\u2028\u2029])|(?<=\r)(?!\n)))",
    "$": r"(?:\Z|(?=[\r\x85\u2028\u2029])|(?<!\r)(?=\n))",
}
_TOKEN = regex.compile(
    r"\\Q(?P<quoted>.*?)(?:\\E|\Z)|\\k<(?P<group>\w+)>|\\x\{(?P<code>[0-9A-Fa-f]+)\}|\\(?P<escaped>.)|(?P<sign>[\[\].^$])",
    regex.DOTALL,
)
_DOT_MATCHES_ALL = regex.compile(r"\(\?[a-zA-Z]*s")


class SeparatorFinder:
    """Finds separators in the pieces of one text, within ``seconds`` for all of them together.

    While a pattern runs, other threads do too.
    """

    def __init__(self, seconds: float = MATCH_SECONDS) -> None:
        self._seconds = seconds
        self._spent = 0.0

    def starts(self, separator: str, piece: str) -> list[int]:
        """Where the matches of a separator begin in ``piece``.

        Raises ``IllegalArgumentError`` for a separator that is no regular expression, and when the time is over.
        """
        pattern = compiled(separator)
        began = time.monotonic()
        try:
            left = max(self._seconds - self._spent, 0.001)
            return [match.start() for match in pattern.finditer(piece, timeout=left)]
        except TimeoutError as error:
            raise IllegalArgumentError(
                f"Separator [{separator}] took longer than {self._seconds:g} seconds on one text"
            ) from error
        finally:
            self._spent += time.monotonic() - began


@lru_cache(maxsize=256)
def compiled(separator: str) -> regex.Pattern[str]:
    """The pattern of a separator; raises ``IllegalArgumentError`` for one that is no regular expression."""
    try:
        return regex.compile(_Rewriting(separator).result(), regex.VERSION1 | regex.MULTILINE)
    except (regex.error, ValueError, OverflowError) as error:
        raise IllegalArgumentError(f"Invalid separator [{separator}]: {error}") from error


class _Rewriting:
    """One pass over a pattern, which knows whether it is inside a character class."""

    def __init__(self, separator: str) -> None:
        self._separator = separator
        self._depth = 0
        self._signs = dict(_OUTSIDE_CLASSES)
        if _DOT_MATCHES_ALL.search(separator):
            del self._signs["."]

    def result(self) -> str:
        return _TOKEN.sub(self._rewritten, self._separator)

    def _rewritten(self, match: regex.Match[str]) -> str:
        if (sign := match["sign"]) is not None:
            if sign in "[]":
                self._depth = max(0, self._depth + (1 if sign == "[" else -1))
                return sign
            return sign if self._depth else self._signs.get(sign, sign)
        if (quoted := match["quoted"]) is not None:
            return regex.escape(quoted, literal_spaces=True)
        if match["group"] is not None:
            return f"(?P={match['group']})"
        if match["code"] is not None:
            return regex.escape(chr(int(match["code"], 16)))
        return _ESCAPES.get(match["escaped"], match[0])
