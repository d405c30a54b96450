"""A model's tokens for those who ask for them: the pieces of a text, the text of ids, the ids of token weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from sidecar.runtime.prompts import Prompts
from sidecar.runtime.token_limits import TokenLimits
from sidecar.runtime.tokens import read_tokenizer, whole_characters


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
    """The tokenizer of a model without its limit of length. Safe to use from several threads."""

    def __init__(self, path: Path, limits: TokenLimits, prompts: Prompts) -> None:
        self.prompts = prompts
        self._tokenizer = read_tokenizer(path, limits)
        self._tokenizer.no_truncation()

    def pieces(self, text: str, *, special_tokens: bool = True) -> list[Piece]:
        """The tokens of a whole text, in order."""
        text = whole_characters(text)
        encoding = self._tokenizer.encode(text, add_special_tokens=special_tokens)
        rows = zip(encoding.ids, encoding.tokens, encoding.offsets, encoding.special_tokens_mask, strict=True)
        return [
            Piece(number, name, special=True, start=None, stop=None)
            if special
            else Piece(number, text[start:stop], special=False, start=start, stop=stop)
            for number, name, (start, stop), special in rows
        ]

    def text(self, ids: Sequence[int], *, skip_special_tokens: bool = True) -> str:
        """The text of token ids; unknown ids give nothing."""
        decoded: str = self._tokenizer.decode(list(ids), skip_special_tokens=skip_special_tokens)
        return decoded

    def by_id(self, weights: Mapping[str, float]) -> dict[int, float]:
        """Token weights of a sparse encoder by the ids of the tokens, in their order."""
        return dict(sorted((self._ids[token], weight) for token, weight in weights.items()))

    @cached_property
    def _ids(self) -> dict[str, int]:
        """Ids of tokens as results write them, with ``__`` for a dot."""
        ids = self._tokenizer.get_vocab(with_added_tokens=True)
        return {token.replace(".", "__"): number for token, number in ids.items()}
