"""Texts of many documents into vectors: gathered per endpoint, repeated texts once, one bad text failing alone."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import structlog

from sidecar.core.errors import RejectedExecutionError, RequestTimeoutError, SidecarError
from sidecar.core.results import DenseEmbeddings, SparseEmbeddings
from sidecar.elastic.bindings import LongTexts
from sidecar.elastic.version import ServerVersion
from sidecar.inference.embedder import Embedder, EndpointChangedError, EndpointProfile, embed_as_planned
from sidecar.ingest.backoff import Backoff
from sidecar.ingest.document import Candidate, Plan, Target
from sidecar.ingest.marker import attempt_hash
from sidecar.ingest.pieces import MOST_HALVINGS, halved
from sidecar.ingest.stop import RunStoppedError
from sidecar.ingest.vector import UnusableVectorError, dense_values, merged_value, sparse_values

log = structlog.get_logger(__name__)

LOCAL_TEXTS = 64
"""Texts per call of a local model, which cuts its batches by tokens itself: enough to keep them full."""
MOST_TEXTS = 512
"""Texts per call of a provider that takes more: the cost of a call is spread thin by then, its answer still small."""
MOST_CHARACTERS = 300_000
"""Characters per call. OpenAI takes 300,000 tokens in one request, and a token is seldom shorter than a character."""


_PLAIN_TEXT = "The tide turns twice a day."


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a text has no vector; ``for_good`` when the same call would end so again."""

    reason: str
    for_good: bool = True


@dataclass(slots=True)
class Embedded:
    """A candidate with the values of its fields; ``failure`` names the fields that got none, and why.

    ``failed`` holds per field what failed for good, in the marker's form.
    """

    candidate: Candidate
    values: dict[str, tuple[Any, ...]] = field(default_factory=dict)
    failure: str | None = None
    failed: dict[str, str] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """Bytes of the write to come, roughly: 10 per dense value, 20 per token."""
        return self.candidate.size + sum(_weight(value) for values in self.values.values() for value in values)


@dataclass(slots=True)
class EmbeddingCount:
    """What was asked of the endpoints."""

    texts: int = 0
    truncated: int = 0


def gather(candidates: Sequence[Candidate], target: Target) -> list[str]:
    """The different texts that ``target`` needs, in order of first appearance."""
    return list(
        dict.fromkeys(
            text for candidate in candidates for piece in candidate.pieces.get(target.name, ()) for text in piece.chunks
        )
    )


def distribute(
    candidates: Sequence[Candidate], plan: Plan, values: Mapping[str, Mapping[str, Any | Failure]]
) -> list[Embedded]:
    """Gives every candidate its values; ``values`` holds per target field a value or failure for each text.

    A field of which one piece failed gets nothing: passages are all there or not there.
    """
    results = []
    for candidate in candidates:
        lacking: frozenset[str] = frozenset()
        embedded = Embedded(candidate, failed=dict(candidate.failed))
        reasons = [] if candidate.failure is None else [candidate.failure]
        for target in plan.targets:
            if target.name not in candidate.pieces:
                continue
            made = [
                _merged([values[target.name][text] for text in piece.chunks], target.profile)
                for piece in candidate.pieces[target.name]
            ]
            failed = next((value for value in made if isinstance(value, Failure)), None)
            if failed is None:
                embedded.values[target.name] = tuple(made)
            else:
                reasons.append(f"{target.name}: {failed.reason}")
                lacking |= plan.fellows(target)
                if failed.for_good:
                    stamp = candidate.stamps[target.name]
                    embedded.failed[target.name] = attempt_hash(stamp.hash, stamp.model)
        embedded.values = {name: value for name, value in embedded.values.items() if name not in lacking}
        embedded.failure = "; ".join(reasons) or None
        results.append(embedded)
    return results


def _halved(candidate: Candidate, target: Target, cut: Collection[str]) -> Candidate:
    pieces = candidate.pieces.get(target.name)
    if pieces is None:
        return candidate
    smaller = tuple(halved(piece, cut.__contains__) for piece in pieces)
    return replace(candidate, pieces={**candidate.pieces, target.name: smaller})


def texts_per_call(profile: EndpointProfile, wanted: int | None = None) -> int:
    """As many as the endpoint takes, at most ``wanted``, or what is sensible when nobody says."""
    if profile.batch_size is None:
        return wanted or LOCAL_TEXTS
    return min(profile.batch_size, wanted or MOST_TEXTS)


def cut_into_calls(texts: Sequence[str], most: int) -> Iterator[list[str]]:
    """``texts`` in order, at most ``most`` and :data:`MOST_CHARACTERS` at once; a longer one goes alone."""
    call: list[str] = []
    characters = 0
    for text in texts:
        if call and (len(call) == most or characters + len(text) > MOST_CHARACTERS):
            yield call
            call, characters = [], 0
        call.append(text)
        characters += len(text)
    if call:
        yield call


class TextEmbedder:
    """Embeds the texts of candidates in calls as large as each endpoint takes, at most ``batch_size`` if given."""

    def __init__(self, embedder: Embedder, plan: Plan, version: ServerVersion, batch_size: int | None = None) -> None:
        self._embedder = embedder
        self._plan = plan
        self._version = version
        self._batch_size = batch_size
        self.count = EmbeddingCount()

    async def embed(self, candidates: Sequence[Candidate]) -> list[Embedded]:
        """Every candidate with its values, in order; raises :class:`RunStoppedError` when an endpoint is unusable."""
        values: dict[str, dict[str, Any]] = {}
        for target in self._plan.targets:
            made: dict[str, Any] = {}
            cut: set[str] = set()
            await self._embed_texts(target, gather(candidates, target), made, cut)
            for _ in range(MOST_HALVINGS if target.long_texts is LongTexts.CHUNK else 0):
                if not cut:
                    break
                candidates = [_halved(candidate, target, cut) for candidate in candidates]
                texts = [text for text in gather(candidates, target) if text not in made]
                cut = set()
                await self._embed_texts(target, texts, made, cut)
            self.count.truncated += len(cut)
            values[target.name] = made
        return distribute(candidates, self._plan, values)

    async def _embed_texts(self, target: Target, texts: list[str], made: dict[str, Any], cut: set[str]) -> None:
        """Puts what becomes of ``texts`` into ``made``, and those that the model did not read whole into ``cut``."""
        for batch in cut_into_calls(texts, texts_per_call(target.profile, self._batch_size)):
            made.update(zip(batch, await self._embed_batch(target, batch, cut), strict=True))

    async def _embed_batch(self, target: Target, texts: list[str], cut: set[str]) -> list[Any]:
        profile = target.profile
        try:
            return await self._ask(target, texts, cut)
        except SidecarError as error:
            if error.status in (401, 403, 404):
                raise RunStoppedError(f"endpoint [{profile.inference_id}] cannot be used: {error.reason}") from error
            if len(texts) == 1:
                return [Failure(f"endpoint [{profile.inference_id}]: {error.reason}", _is_refusal(error))]
        except RunStoppedError:
            raise
        except Exception as error:
            log.warning("endpoint_failed", inference_id=profile.inference_id, texts=len(texts), exc_info=error)
            if len(texts) == 1:
                return [Failure(f"endpoint [{profile.inference_id}]: {type(error).__name__}: {error}", for_good=False)]
        # One text may be to blame (too long, refused): halves find it and save the others.
        middle = len(texts) // 2
        return [
            *await self._embed_batch(target, texts[:middle], cut),
            *await self._embed_batch(target, texts[middle:], cut),
        ]

    async def works(self) -> bool:
        """Whether every endpoint of the plan makes a vector of a plain text."""
        for target in {target.profile.inference_id: target for target in self._plan.targets}.values():
            (made,) = await self._embed_batch(target, [_PLAIN_TEXT], set())
            if isinstance(made, Failure):
                return False
        return True

    async def _ask(self, target: Target, texts: list[str], cut: set[str]) -> list[Any]:
        profile = target.profile
        backoff = Backoff()
        while True:
            try:
                answer = await embed_as_planned(self._embedder, profile, texts)
            except EndpointChangedError as error:
                raise RunStoppedError(f"{error.reason}: start again") from error
            except SidecarError as error:
                if not is_transient(error):
                    raise
                if backoff.exhausted:
                    raise RunStoppedError(
                        f"endpoint [{profile.inference_id}] refuses again and again: {error.reason}"
                    ) from error
                log.info("endpoint_busy", inference_id=profile.inference_id, status=error.status)
                await backoff.wait()
            else:
                cut.update(texts[position] for position in answer.truncated)
                return self._values(target, texts, answer)

    def _values(self, target: Target, texts: list[str], answer: SparseEmbeddings | DenseEmbeddings) -> list[Any]:
        profile = target.profile
        items: Sequence[Any] = answer.items if isinstance(answer, SparseEmbeddings) else answer.vectors
        if len(items) != len(texts):
            raise RunStoppedError(
                f"endpoint [{profile.inference_id}] answered [{len(items)}] embeddings for [{len(texts)}] texts"
            )
        self.count.texts += len(texts)
        made = sparse_values(items, self._version) if profile.is_sparse else dense_values(items, profile)
        values: list[Any] = [
            Failure(f"endpoint [{profile.inference_id}]: {value}") if isinstance(value, UnusableVectorError) else value
            for value in made
        ]
        if target.long_texts is LongTexts.FAIL:
            for position in answer.truncated:
                reason = f"a text of [{len(texts[position])}] characters is longer than the model reads"
                values[position] = Failure(reason)
        return values


def _merged(made: Sequence[Any | Failure], profile: EndpointProfile) -> Any | Failure:
    """The value of a piece, of those of its chunks; the first failure where one of them has none."""
    failed = next((value for value in made if isinstance(value, Failure)), None)
    if failed is not None:
        return failed
    try:
        return merged_value(made, profile)
    except UnusableVectorError as error:
        return Failure(f"endpoint [{profile.inference_id}]: {error}")


def is_transient(error: SidecarError) -> bool:
    """True when the same call may succeed a little later."""
    return isinstance(error, (RejectedExecutionError, RequestTimeoutError)) or error.status in (408, 429, 502, 503, 504)


def _is_refusal(error: SidecarError) -> bool:
    """True when the endpoint has judged the text itself."""
    return 400 <= error.status < 500 and error.status not in (408, 409, 423, 425, 429)


def _weight(value: Any) -> int:
    if isinstance(value, list):
        return 20 * sum(len(tokens) for tokens in value)
    return 10 * len(value)
