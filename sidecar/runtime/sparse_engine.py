"""Token weights from a sparse encoder, its vocabulary head screened, in blocks, or as the graph has it."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from threading import Lock, Thread
from typing import Any

import numpy as np
import numpy.typing as npt

from sidecar.core.results import SparseEmbedding
from sidecar.runtime.batch import PaddedBatch
from sidecar.runtime.directory import ModelDirectory
from sidecar.runtime.engine import STATIC, Engine, Work
from sidecar.runtime.errors import UnusableModelError
from sidecar.runtime.memory import release_memory
from sidecar.runtime.screening import ScreenedHead
from sidecar.runtime.session import Session
from sidecar.runtime.sparse_head import HIDDEN, WEIGHTS, SplitModel, blocked_graph, encoder_graph, split_head
from sidecar.runtime.splade import Strategy
from sidecar.runtime.static_query import StaticQueries
from sidecar.runtime.tokens import WordPieces

Floats = npt.NDArray[np.float32]
Ids = npt.NDArray[np.int64]

# A wide encoder leaves the head too small a share for screening to pay (see docs/models.md).
_WIDEST_FOR_SCREENING = 256

# Screening is fitted on hidden states of text, which decides its speed and never its result: at first on the sentences
# below, mixed with random words of the vocabulary, then twice on the texts that really come. Fitted on texts of the
# same field it bounds 70 % of the pairs of token and vocabulary row, on any other text 90 %.
_REFIT_AT = (4096, 32768)
_REFIT_STATES = 8192
_MIXED_TEXTS, _MIXED_WORDS = 30, 100
# Texts on which a fitted head must show that it saves something; else the head runs in blocks.
_TRIED_TEXTS = 16
_SAMPLE = (
    "The ferry leaves the harbour at seven in the morning and reaches the island before noon.",
    "A good bread needs flour, water, salt, time, and an oven that is hotter than you think.",
    "In 1856 the engineers measured the pressure behind the valve and found it far too low for the new engine.",
    "Patients who slept less than six hours reported more pain, but the difference was small after a month.",
    "How do I return an item that was damaged in the post, and who pays for the parcel?",
    "Prices rose by three percent last year, mostly because energy and rent became more expensive.",
    "The function returns an error when the list is empty, so check its length before you call it.",
    "Wolves hunt in groups and follow the herd over great distances through snow and forest.",
    "She sang the second song alone, without the band, and nobody in the hall made a sound.",
    "The court held that the contract was void since neither party had signed the last page.",
    "Light travels through glass more slowly than through air, which bends it at the edge of a lens.",
    "Our team lost the match in the final minute, after a mistake by the goalkeeper.",
)


class SparseEngine(Engine):
    """SPLADE weights: the largest over a text's positions of log(1 + relu(logit)), for each vocabulary entry.

    The directory may ask for another activation, or for the sum over the positions, which is taken of the whole
    logits; and for queries that are looked up, token by token, with no model run.

    Special tokens ([CLS], [SEP], [PAD], ...) are left out of the result, and a ``.`` in a token is written ``__``:
    Elasticsearch before 8.16 refuses dots in feature names, and its own ELSER writes tokens so.
    """

    def __init__(self, directory: ModelDirectory, *, exact: bool) -> None:
        super().__init__(directory)
        self._exact = exact
        self._split = self._cut()
        self._screen: ScreenedHead | None = None
        self._has_blocks = False
        self._states: list[Floats] = []
        self._states_seen = 0
        self._lock = Lock()
        size = directory.dimensions or 0
        self._tokens = [token.replace(".", "__") for token in self.word_pieces.vocabulary(size)]
        special = [number for number in self.word_pieces.special_ids() if number < size]
        self._special = frozenset(special) | {n for n, token in enumerate(self._tokens) if not token}
        self._queries = StaticQueries(directory.query) if directory.query is not None else None

    def pieces(self, purpose: Any) -> WordPieces:
        """The tokenizer, which may be another for queries that are looked up."""
        return self._queries.word_pieces if purpose is STATIC and self._queries is not None else self.word_pieces

    @property
    def head(self) -> str:
        """How the head is computed: ``screened``, ``blocks`` or ``whole``."""
        if self._screen is not None:
            return "screened"
        return "blocks" if self._has_blocks else "whole"

    def open(self, threads: int) -> Session:
        with self._lock:
            split = self._split or self._cut()
            self._split = None  # its graph would stay in memory beside the session's own copy
            if split is not None:
                with suppress(UnusableModelError, ValueError):  # of an encoder that is not written out again: 2 GiB
                    return self._open_split(split, threads)
            self._has_blocks, self._screen = False, None
            return Session(self.directory.graph_file, threads)

    def _cut(self) -> SplitModel | None:
        """The head by itself; ``None`` where the whole logits are needed."""
        if self.directory.splade.strategy is Strategy.SUM:
            return None
        return split_head(self.directory.graph_file, self.directory.output.name)

    def _open_split(self, split: SplitModel, threads: int) -> Session:
        if self._exact and split.weights.shape[1] <= _WIDEST_FOR_SCREENING:
            session = Session(encoder_graph(split), threads)
            if self._screen is None:
                self._screen = self._screened(split, session)
            if self._screen is not None:
                return session
        session = Session(blocked_graph(split, int8=not self._exact), threads)
        self._has_blocks = True
        return session

    def _screened(self, split: SplitModel, session: Session) -> ScreenedHead | None:
        texts: list[Floats] = []
        for sample in (_SAMPLE, self._mixed_texts()):
            batch = PaddedBatch.of(self.word_pieces.encode(sample), self.directory.pad_token_id)
            (hidden,) = session.run(batch.feeds, [HIDDEN])
            texts += [hidden[row, :size] for row, size in enumerate(batch.lengths)]
        try:
            screen = ScreenedHead(split.weights, split.bias, np.concatenate(texts))
        except (ValueError, np.linalg.LinAlgError):
            return None
        for text in texts[:_TRIED_TEXTS]:
            screen.maxima(text)
        return screen if screen.count.pays else None

    def _mixed_texts(self) -> list[str]:
        random = np.random.default_rng(0)
        written = " ".join(_SAMPLE).split()
        words = [token for token in self._tokens if token.isalpha()] or written
        half = _MIXED_WORDS // 2
        return [
            " ".join(
                word
                for pair in zip(random.choice(written, half), random.choice(words, half), strict=True)
                for word in pair
            )
            for _ in range(_MIXED_TEXTS)
        ]

    def run(self, session: Session, work: Sequence[Work], batch: PaddedBatch) -> list[Any]:
        maps: list[dict[str, float]] = []
        if any(text.purpose is not STATIC for text in work):
            maps = [self._map(ids, weights) for ids, weights in self._found(session, batch)]
        return [
            SparseEmbedding(self._weights(text, maps, row), text.encoded.is_truncated)
            for text, row in zip(work, batch.rows, strict=True)
        ]

    def _weights(self, text: Work, maps: list[dict[str, float]], row: int) -> dict[str, float]:
        if text.encoded.is_empty:
            return {}
        if text.purpose is STATIC and self._queries is not None:
            return self._queries.weights(text.encoded.ids)
        return maps[row]

    def _found(self, session: Session, batch: PaddedBatch) -> list[tuple[Ids, Floats]]:
        """Ids and weights of each row of a batch."""
        splade = self.directory.splade
        if self._screen is not None:
            return [(ids, splade.of_weights(found)) for ids, found in self._run_screened(session, batch, self._screen)]
        if self._has_blocks:
            weights, hidden = session.run(batch.feeds, [WEIGHTS, HIDDEN])
            _check(hidden, batch)
            return [_positive(splade.of_weights(row)) for row in weights]
        (logits,) = session.run(batch.feeds, [self.directory.output.name])
        return [_positive(splade.of_logits(logits[row, :size])) for row, size in enumerate(batch.lengths)]

    def _run_screened(self, session: Session, batch: PaddedBatch, screen: ScreenedHead) -> list[tuple[Ids, Floats]]:
        (hidden,) = session.run(batch.feeds, [HIDDEN])
        _check(hidden, batch)
        found = [screen.maxima(hidden[row, :size]) for row, size in enumerate(batch.lengths)]
        if self._states_seen < _REFIT_AT[-1]:
            self._learn(hidden[batch.mask > 0])
        return [(ids, np.log1p(top)) for ids, top in found]

    def _learn(self, states: Floats) -> None:
        """Keeps hidden states of the first texts and fits the screening to them, in a thread of its own."""
        with self._lock:
            before = self._states_seen
            self._states_seen += len(states)
            self._states.append(states)
            if not any(before < mark <= self._states_seen for mark in _REFIT_AT):
                return
            sample = np.concatenate(self._states)[-_REFIT_STATES:]
            self._states = [] if self._states_seen >= _REFIT_AT[-1] else [sample]
        Thread(target=self._refit, args=(sample,), name="refit-screening", daemon=True).start()

    def _refit(self, sample: Floats) -> None:
        if (screen := self._screen) is not None:
            with suppress(ValueError, np.linalg.LinAlgError):
                self._screen = screen.refitted(sample)
        release_memory()

    def _map(self, ids: Ids, weights: Floats) -> dict[str, float]:
        """Token to weight, heaviest first."""
        order = np.argsort(-weights, kind="stable")
        tokens, special = self._tokens, self._special
        pairs = zip(ids[order].tolist(), weights[order].tolist(), strict=True)
        return {tokens[number]: weight for number, weight in pairs if number not in special}


def _positive(weights: Floats) -> tuple[Ids, Floats]:
    ids = np.flatnonzero(~(weights <= 0))  # NaN stays: the runner tells it from a weight
    return ids, weights[ids]


def _check(hidden: Floats, batch: PaddedBatch) -> None:
    if not np.isfinite(hidden[batch.mask > 0]).all():
        raise FloatingPointError("the encoder's hidden states are NaN or infinite")
