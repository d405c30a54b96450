"""Word pieces: texts in, arrays of ids out, cut to the model's limit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from sidecar.runtime.errors import UnusableModelError

# No word piece comes from more characters than this on average (WordPiece gives up on words of 100), so a longer
# text is cut before it is tokenised: a text of megabytes costs no more than one of the model's length.
_CHARACTERS_PER_PIECE = 256


@dataclass(frozen=True, slots=True)
class Encoded:
    """One tokenised text or pair: ids and segment ids, special tokens included."""

    ids: npt.NDArray[np.int64]
    type_ids: npt.NDArray[np.int64] | None
    is_truncated: bool
    is_empty: bool
    """True when only special tokens are there."""

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def key(self) -> bytes:
        """Equal for equal inputs of the model."""
        return self.ids.tobytes()


class WordPieces:
    """A model's tokenizer, set to its limit. Safe to use from several threads."""

    def __init__(self, path: Path, max_length: int) -> None:
        try:
            self._tokenizer = Tokenizer.from_file(str(path))
        except Exception as error:  # the library raises bare Exception
            raise UnusableModelError(f"[{path}] is not a readable tokenizer: {error}") from error
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(max_length)
        self._limit = max_length * _CHARACTERS_PER_PIECE
        self._special = self._tokenizer.num_special_tokens_to_add(False)
        self._special_in_pair = self._tokenizer.num_special_tokens_to_add(True)

    def encode(self, texts: Sequence[str], prompt: str = "") -> list[Encoded]:
        """Texts one by one, each after ``prompt``."""
        whole = [text.strip() for text in texts]
        cut = [_unicode(text[: self._limit]) for text in whole]
        encodings = self._tokenizer.encode_batch_fast([prompt + text for text in cut] if prompt else cut)
        return [
            Encoded(
                ids=np.array(encoding.ids, dtype=np.int64),
                type_ids=None,
                is_truncated=bool(encoding.overflowing) or len(text) > self._limit,
                is_empty=len(encoding) <= self._special or not short,
            )
            for text, short, encoding in zip(whole, cut, encodings, strict=True)
        ]

    def encode_pairs(self, query: str, documents: Sequence[str]) -> list[Encoded]:
        """A query with each document, in one input with segment ids, the longer of the two cut first."""
        query = _unicode(query.strip()[: self._limit])
        whole = [document.strip() for document in documents]
        cut = [_unicode(document[: self._limit]) for document in whole]
        encodings = self._tokenizer.encode_batch_fast([(query, document) for document in cut])
        return [
            Encoded(
                ids=np.array(encoding.ids, dtype=np.int64),
                type_ids=np.array(encoding.type_ids, dtype=np.int64),
                is_truncated=bool(encoding.overflowing) or len(document) > self._limit,
                is_empty=not query or not short or len(encoding) <= self._special_in_pair,
            )
            for document, short, encoding in zip(whole, cut, encodings, strict=True)
        ]

    def vocabulary(self, size: int) -> list[str]:
        """Token of each id, ``size`` long; ids without a token give an empty string."""
        tokens = [""] * size
        for token, number in self._tokenizer.get_vocab(with_added_tokens=True).items():
            if number < size:
                tokens[number] = token
        return tokens

    def special_ids(self) -> list[int]:
        """Ids of tokens that stand for no text: [CLS], [SEP], [PAD] and the like."""
        return [number for number, token in self._tokenizer.get_added_tokens_decoder().items() if token.special]


def _unicode(text: str) -> str:
    """``text`` with U+FFFD for each half of a surrogate pair: JSON can name what UTF-8 and tokenizers cannot hold.

    Two halves that stand together become the character they stand for.
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text
