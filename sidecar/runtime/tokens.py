"""Word pieces: texts in, arrays of ids out, cut to the model's limit."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from tokenizers import Encoding, Tokenizer
from tokenizers.normalizers import BertNormalizer, Lowercase
from tokenizers.normalizers import Sequence as Normalizers

from sidecar.runtime.errors import UnusableModelError
from sidecar.runtime.token_limits import TokenLimits

# No word piece comes from more characters than this on average (WordPiece gives up on words of 100), so a longer
# text is cut before it is tokenised: a text of megabytes costs no more than one of the model's length.
CHARACTERS_PER_PIECE = 256
# The library hands a batch, were it one text, to threads of its own and lets others run meanwhile. Up to so many
# characters, half a millisecond, the changes of thread take longer than the work.
_SHORT = 2000
# Blanks before a text that are read behind a prompt: any number of them costs no more than these.
_BLANKS = 256


@dataclass(frozen=True, slots=True)
class Encoded:
    """One tokenised text or pair: ids and segment ids, special tokens included."""

    ids: npt.NDArray[np.int64]
    type_ids: npt.NDArray[np.int64] | None
    is_truncated: bool
    is_empty: bool
    """True when only special tokens are there."""
    prompt_tokens: int = 0
    """How many of the first ids are the prompt's, with what the tokenizer puts before it."""

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def key(self) -> tuple[bytes, bytes]:
        """Equal for equal inputs of the model: the same ids in the same segments."""
        return self.ids.tobytes(), b"" if self.type_ids is None else self.type_ids.tobytes()


def read_tokenizer(path: Path, limits: TokenLimits) -> Tokenizer:
    """The tokenizer of a file with a model's own letter cases and accents, without padding.

    Raises ``UnusableModelError``.
    """
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises bare Exception
        raise UnusableModelError(f"[{path}] is not a readable tokenizer: {error}") from error
    tokenizer.no_padding()
    if limits.bert_normalizer and isinstance(tokenizer.normalizer, BertNormalizer):
        given = json.loads(tokenizer.to_str())["normalizer"]
        del given["type"]
        tokenizer.normalizer = BertNormalizer(**given | limits.bert_normalizer)
    if limits.lower_case:
        own = tokenizer.normalizer
        tokenizer.normalizer = Normalizers([Lowercase(), own]) if own else Lowercase()
    return tokenizer


def encoded(tokenizer: Tokenizer, texts: Sequence[str], *, special_tokens: bool = True) -> list[Encoding]:
    """The encodings of texts, a short one alone in the caller's own thread."""
    if len(texts) == 1 and len(texts[0]) <= _SHORT:
        return [tokenizer.encode(texts[0], add_special_tokens=special_tokens)]
    encodings: list[Encoding] = tokenizer.encode_batch_fast(texts, add_special_tokens=special_tokens)
    return encodings


class WordPieces:
    """A model's tokenizer, set to its limits. Safe to use from several threads.

    ``special_tokens`` says whether the tokens that frame a text ([CLS], [SEP]) are put around it.
    """

    def __init__(self, path: Path, limits: TokenLimits, *, special_tokens: bool = True) -> None:
        self._tokenizer = read_tokenizer(path, limits)
        self._tokenizer.enable_truncation(limits.max_length, direction=limits.side)
        self._limit = limits.max_length * CHARACTERS_PER_PIECE
        self._cuts_left = limits.side == "left"
        self._frames = special_tokens
        self._special = self._tokenizer.num_special_tokens_to_add(False) if special_tokens else 0
        self._special_in_pair = self._tokenizer.num_special_tokens_to_add(True)
        self._prompts: dict[str, int] = {}
        if limits.max_length < self._special:
            raise UnusableModelError(
                f"The model reads [{limits.max_length}] tokens of a text, fewer than the [{self._special}] around it"
            )

    @property
    def frame(self) -> tuple[int, int]:
        """How many special tokens stand before a text and how many behind it, such as 1 and 1: [CLS], [SEP]."""
        mask = self._tokenizer.encode("a", add_special_tokens=self._frames).special_tokens_mask
        if 0 not in mask:
            return 0, 0
        return mask.index(0), mask[::-1].index(0)

    def encode(self, texts: Sequence[str], prompt: str = "") -> list[Encoded]:
        """Texts one by one, each after ``prompt``."""
        whole = [text.strip() for text in texts]
        cut = [whole_characters(self._cut(text)) for text in whole]
        inputs = [behind(prompt, text, short) for text, short in zip(texts, cut, strict=True)] if prompt else cut
        encodings = encoded(self._tokenizer, inputs, special_tokens=self._frames)
        prompt_tokens = self._prompt_tokens(prompt) if prompt else 0
        return [
            Encoded(
                ids=np.array(encoding.ids, dtype=np.int64),
                type_ids=None,
                is_truncated=bool(encoding.overflowing) or len(text) > self._limit,
                is_empty=len(encoding) <= self._special or not short,
                prompt_tokens=prompt_tokens,
            )
            for text, short, encoding in zip(whole, cut, encodings, strict=True)
        ]

    def encode_pairs(self, query: str, documents: Sequence[str]) -> list[Encoded]:
        """A query with each document, in one input with segment ids, the longer of the two cut first."""
        asked = query.strip()
        query = whole_characters(asked[: self._limit])
        whole = [document.strip() for document in documents]
        cut = [whole_characters(self._cut(document)) for document in whole]
        encodings = self._tokenizer.encode_batch_fast([(query, document) for document in cut])
        return [
            Encoded(
                ids=np.array(encoding.ids, dtype=np.int64),
                type_ids=np.array(encoding.type_ids, dtype=np.int64),
                is_truncated=bool(encoding.overflowing) or max(len(asked), len(document)) > self._limit,
                is_empty=not query or not short or len(encoding) <= self._special_in_pair,
            )
            for document, short, encoding in zip(whole, cut, encodings, strict=True)
        ]

    def _cut(self, text: str) -> str:
        return text[-self._limit :] if self._cuts_left else text[: self._limit]

    def _prompt_tokens(self, prompt: str) -> int:
        """Tokens of a prompt alone, without the special token behind it; a model has few prompts, which are kept."""
        known = self._prompts.get(prompt)
        if known is None:
            encoding = self._tokenizer.encode(prompt, add_special_tokens=self._frames)
            known = len(encoding) - (1 if encoding.special_tokens_mask[-1:] == [1] else 0)
            self._prompts[prompt] = known
        return known

    def ids(self) -> dict[str, int]:
        """Every token's id."""
        return dict(self._tokenizer.get_vocab(with_added_tokens=True))

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


def behind(prompt: str, text: str, stripped: str) -> str:
    """A prompt and a text as one input: blanks between the two count, where the tokenizer keeps them.

    ``stripped`` is what is read of ``text``. As in sentence-transformers, which strips no more than both together.
    """
    return prompt + text[: len(text) - len(text.lstrip())][-_BLANKS:] + stripped


def whole_characters(text: str) -> str:
    """``text`` with U+FFFD for each half of a surrogate pair: JSON can name what UTF-8 and tokenizers cannot hold.

    Two halves that stand together become the character they stand for.
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text
