"""Word and sentence boundaries of a text: ICU's break iterators in the root locale, as Elasticsearch uses them.

Source: Unicode Standard Annex 29 "Text segmentation"; ICU user guide, "Boundary analysis" (rule status of words,
dictionaries for Chinese, Japanese, Thai, Lao, Khmer and Burmese). Versions of ICU differ a little in rules and
dictionaries, so chunks of such scripts may differ by a word from those of an Elasticsearch with an older ICU.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

import icu

from sidecar.core.chunking.chunk import Utf16Offsets

_NO_WORD = 0  # UBRK_WORD_NONE: spaces, punctuation, symbols, emoji


@dataclass(frozen=True, slots=True)
class WordBoundaries:
    """All word boundaries of a text, in characters, with the words counted.

    ``bounds[0]`` is 0 and ``bounds[-1]`` the length of the text; ``counts[i]`` is the number of words that end at or
    before ``bounds[i]``; ``word_ends`` are the boundaries that end a word. A word is a segment whose rule status says
    letters, numbers, kana or ideographs.
    """

    bounds: Sequence[int]
    counts: Sequence[int]
    word_ends: Sequence[int]

    @classmethod
    def of(cls, text: str) -> WordBoundaries:
        breaker = icu.BreakIterator.createWordInstance(icu.Locale.getRoot())
        breaker.setText(text)
        rule_status = breaker.getRuleStatus
        units, counts, word_ends = [0], [0], []
        words = 0
        for end in breaker:
            if rule_status() != _NO_WORD:
                words += 1
                word_ends.append(end)
            units.append(end)
            counts.append(words)
        offsets = Utf16Offsets(text)
        return cls(offsets.characters(units), counts, offsets.characters(word_ends))

    def count(self, start: int, end: int) -> int:
        """Words that end within ``(start, end]``, and one more where a lone separator stands between a word and
        ``start``.

        The addition is Elasticsearch's: it begins to count at the last boundary *before* ``start``, so that a word
        which ends there is counted again (``word\\nNext``: the line that starts at ``Next`` counts two words). Chunks
        equal to Elasticsearch's need it.
        """
        first = max(bisect_left(self.bounds, start) - 1, 0)
        last = bisect_right(self.bounds, end) - 1
        return self.counts[last] - (self.counts[first - 1] if first else 0)

    def after_words(self, start: int, words: int) -> int:
        """The boundary that follows the segment with which ``words`` words are complete, counted like :meth:`count`.

        With ``words`` 0 this is the last boundary before ``start``. Ends at the end of the text.
        """
        at = max(bisect_left(self.bounds, start) - 1, 0)
        if words <= 0:
            return self.bounds[at]
        goal = (self.counts[at - 1] if at else 0) + words
        return self.bounds[min(bisect_left(self.counts, goal, lo=at) + 1, len(self.bounds) - 1)]


def sentence_ends(text: str) -> list[int]:
    """Ends of the sentences of a text, in characters; the last is the end of the text. Empty for an empty text."""
    breaker = icu.BreakIterator.createSentenceInstance(icu.Locale.getRoot())
    breaker.setText(text)
    return Utf16Offsets(text).characters(breaker)


def count_words(text: str) -> int:
    """Number of words of a text."""
    return WordBoundaries.of(text).counts[-1]
