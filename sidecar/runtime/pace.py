"""How fast a model works, measured while it works: what a call will take is known before it is let in."""

from __future__ import annotations

import math
import time
from threading import Lock

# Batches of about the last ten seconds of work count; a pace not confirmed for that long is forgotten, so that a
# machine that was busy once does not have calls refused for ever.
_MEMORY_SECONDS = 10.0
# Below this much work a pace is chance.
_LEAST_SECONDS = 1.0
# English prose has four to five characters a word piece; corrected by what comes.
_CHARACTERS_PER_TOKEN = 4.5
_CHARACTERS_REMEMBERED = 100_000.0


class Pace:
    """Tokens per second of one worker and characters per token, as weighted means that forget. Safe for threads."""

    def __init__(self) -> None:
        self._tokens = 0.0
        self._seconds = 0.0
        self._characters_of_tokens = _CHARACTERS_REMEMBERED
        self._tokens_of_characters = _CHARACTERS_REMEMBERED / _CHARACTERS_PER_TOKEN
        self._last = 0.0
        self._lock = Lock()

    def ran(self, tokens: int, seconds: float) -> None:
        """One batch ran."""
        with self._lock:
            now = time.monotonic()
            kept = 0.0 if now - self._last > _MEMORY_SECONDS else math.exp(-seconds / _MEMORY_SECONDS)
            self._tokens = self._tokens * kept + tokens
            self._seconds = self._seconds * kept + seconds
            self._last = now

    def tokenised(self, characters: int, tokens: int) -> None:
        """Texts of so many characters gave so many tokens."""
        with self._lock:
            kept = math.exp(-characters / _CHARACTERS_REMEMBERED)
            self._characters_of_tokens = self._characters_of_tokens * kept + characters
            self._tokens_of_characters = self._tokens_of_characters * kept + tokens

    @property
    def characters_per_token(self) -> float:
        return max(1.0, self._characters_of_tokens / max(1.0, self._tokens_of_characters))

    def seconds(self, tokens: int, workers: int) -> float | None:
        """What ``workers`` need for ``tokens``; ``None`` while nobody knows."""
        with self._lock:
            is_stale = time.monotonic() - self._last > _MEMORY_SECONDS
            if is_stale or self._seconds < _LEAST_SECONDS or self._tokens <= 0:
                return None
            return tokens * self._seconds / self._tokens / max(1, workers)
