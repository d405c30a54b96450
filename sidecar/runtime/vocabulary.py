"""A model's tokens for those who ask for them: the pieces of a text, the text of ids, the ids of token weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from threading import Lock

from tokenizers import Tokenizer

from sidecar.runtime.directory import ModelDirectory
from sidecar.runtime.tokens import CHARACTERS_PER_PIECE, behind, encoded, read_tokenizer, whole_characters


@dataclass(frozen=True, slots=True)
class Piece:
    """One token: ``text`` as it stands in the input, ``start`` and ``stop`` its characters there.

    A special token ([CLS], ...) stands nowhere in the input; its ``text`` is its name.
    """

    id: int
    text: str
    special: bool
    start: int | None
    stop: int | None


class Vocabulary:
    """The tokenizer of a model without its limit of length. Safe to use from several threads.

    It is loaded with the first use, which raises ``UnusableModelError`` where it cannot be read.
    """

    def __init__(self, directory: ModelDirectory) -> None:
        self.prompts = directory.prompts
        self.limit = directory.max_length
        self._directory = directory
        self._lock = Lock()
        self._loaded: Tokenizer | None = None

    @property
    def is_loaded(self) -> bool:
        return self._loaded is not None

    def load(self) -> Tokenizer:
        """Reads the tokenizer, once; that takes long enough to belong into a thread."""
        with self._lock:
            if self._loaded is None:
                tokenizer = read_tokenizer(self._directory.tokenizer_file, self._directory.tokens)
                tokenizer.no_truncation()
                self._loaded = tokenizer
            return self._loaded

    def lengths(self, texts: Sequence[str], prompt: str = "") -> list[int]:
        """The tokens of each text behind ``prompt``, special ones included, as the model would read them without limit.

        Of a text that is sure to be longer than :attr:`limit` only as much is counted as shows it.
        """
        most = self.limit * CHARACTERS_PER_PIECE
        whole = [text.strip() for text in texts]
        cut = [whole_characters(text[:most]) for text in whole]
        inputs = [behind(prompt, text, short) for text, short in zip(texts, cut, strict=True)] if prompt else cut
        rows = zip(whole, encoded(self.load(), inputs), strict=True)
        return [len(one) if len(text) <= most else max(len(one), self.limit + 1) for text, one in rows]

    def pieces(self, text: str, *, special_tokens: bool = True) -> list[Piece]:
        """The tokens of a whole text, in order."""
        text = whole_characters(text)
        encoding = self.load().encode(text, add_special_tokens=special_tokens)
        rows = zip(encoding.ids, encoding.tokens, encoding.offsets, encoding.special_tokens_mask, strict=True)
        return [
            Piece(number, name, special=True, start=None, stop=None)
            if special
            else Piece(number, text[start:stop], special=False, start=start, stop=stop)
            for number, name, (start, stop), special in rows
        ]

    def text(self, ids: Sequence[int], *, skip_special_tokens: bool = True) -> str:
        """The text of token ids; unknown ids give nothing."""
        decoded: str = self.load().decode(list(ids), skip_special_tokens=skip_special_tokens)
        return decoded

    def by_id(self, weights: Mapping[str, float]) -> dict[int, float]:
        """Token weights of a sparse encoder by the ids of the tokens, in their order."""
        return dict(sorted((self._ids[token], weight) for token, weight in weights.items()))

    @cached_property
    def _ids(self) -> dict[str, int]:
        """Ids of tokens as results write them, with ``__`` for a dot."""
        ids = self.load().get_vocab(with_added_tokens=True)
        return {token.replace(".", "__"): number for token, number in ids.items()}
