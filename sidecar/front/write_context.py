"""What the handlers of writes share while they answer one request."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import chain

import structlog

from sidecar.core.errors import ResourceNotFoundError, SidecarError
from sidecar.elastic.version import ServerVersion
from sidecar.front.completion import complete
from sidecar.front.embedding import RequestEmbedder, Vectors
from sidecar.front.exchange import Exchange
from sidecar.front.filling import Filling, split_cut_texts
from sidecar.front.pipeline_fates import Fate
from sidecar.front.refusals import refuses
from sidecar.front.source_text import SourceText
from sidecar.front.targets import TargetFinder, WritePlan
from sidecar.inference.embedder import EndpointProfile
from sidecar.inference.endpoint_embedder import EndpointEmbedder
from sidecar.ingest.pieces import MOST_HALVINGS

_log = structlog.stdlib.get_logger(__name__)
# What each operation needs: the action itself where several named privileges grant it.
_PRIVILEGES = {
    "create": "create_doc",
    "index": "indices:data/write/index:op_type/index",
    "update": "indices:data/write/update",
}
# An index that is not there is made by the write, which is a right of its own.
_MAKES_INDICES = "indices:admin/auto_create"
# How warnings go on that begin with the pipelines.
_OF_FATES = {
    Fate.DROPPED: "drop field [{}], which is filled here",
    Fate.CHANGED: "change field [{}], which is filled here: what they make of it is stored",
    Fate.UNKNOWN: "cannot be tried with field [{}], which is filled here: whether they keep it is not known",
}


class PlanChangedError(Exception):
    """What was planned for a write does not hold any more, and nothing was sent: it is to be planned anew."""


class WriteContext:
    """Plans, vectors and notes of one request."""

    def __init__(self, exchange: Exchange, version: ServerVersion) -> None:
        self.exchange = exchange
        self.version = version
        self._notes: dict[str, None] = {}
        self._cut: Counter[str] = Counter()
        self._finder = TargetFinder(exchange.front.inference, exchange.front.catalog, version)
        self._embedder = RequestEmbedder(EndpointEmbedder(exchange.front.inference), version)
        self._allowed: dict[tuple[str, str], bool] = {}
        self._refused: dict[str, bool] = {}

    @classmethod
    async def of(cls, exchange: Exchange) -> WriteContext:
        """The context of a request; asks the cluster for its version, once for all requests."""
        return cls(exchange, await exchange.front.catalog.version())

    @property
    def finder(self) -> TargetFinder:
        return self._finder

    async def plan(self, index: str, operation: str = "create") -> WritePlan:
        """What is to be filled in documents that are written to ``index``: nothing where the caller may not write.

        ``operation`` is that of an action: ``index``, ``create``, ``update`` or ``delete``.
        """
        view = await self.exchange.front.catalog.written(index)
        plan = await self._finder.plan(view)
        if not plan:
            self.note(plan.complaints)
            return plan
        # Rights go by the name that is used, so an alias has its own; only date math is resolved before.
        named = view.name if index.startswith("<") else index
        if not await self._may_write(named, operation, makes=not view.is_there):
            return WritePlan(view.name, has_semantic_text=plan.has_semantic_text)
        self.note(plan.complaints)
        return replace(plan, is_refused=True) if view.may_refuse and await self._is_refused(named) else plan

    async def holds(self, plans: Mapping[tuple[str, str], WritePlan]) -> bool:
        """Whether ``plans``, by index and operation, are still what is to be filled.

        A mapping, an alias or an endpoint may change meanwhile.
        """
        await self._finder.renew()
        for (index, operation), plan in plans.items():
            now = await self.plan(index, operation)
            if now is not plan and now != plan:
                return False
        return True

    async def check(self, plan: WritePlan, index: str, operation: str) -> None:
        """To be called when all is ready to be sent.

        Raises:
            PlanChangedError: ``plan`` does not hold any more.
        """
        if not await self.holds({(index, operation): plan}):
            raise PlanChangedError

    def needs_places(self, plan: WritePlan) -> bool:
        """Whether it must be seen where vectors stand in stored documents, which 9.2 and later do not show unasked."""
        return self.version.since(None, (9, 2)) and any("." in target.place for target in plan.vectors)

    async def may_infer(self, index: str, operation: str) -> bool:
        """Whether pipelines may infer for a write, as the caller may do it and the cluster does not refuse it."""
        view = await self.exchange.front.catalog.written(index)
        named = view.name if index.startswith("<") else index
        return await self._may_write(named, operation, makes=not view.is_there)

    async def _may_write(self, index: str, operation: str, *, makes: bool) -> bool:
        needed = [_PRIVILEGES.get(operation, "create_doc"), *([_MAKES_INDICES] if makes else [])]
        for privilege in needed:
            if (index, privilege) not in self._allowed:
                self._allowed[index, privilege] = await self.exchange.check_privileges(index, privilege)
        return all(self._allowed[index, privilege] for privilege in needed)

    async def _is_refused(self, index: str) -> bool:
        if index not in self._refused:
            self._refused[index] = await refuses(self.exchange, index)
        return self._refused[index]

    @property
    def notes(self) -> list[str]:
        """The texts of the answer's ``Warning`` headers: what was noted, and how many texts were not read whole."""
        cut = [
            f"[{count}] texts of field [{name}] are longer than the model reads; the rest was not embedded"
            for name, count in self._cut.items()
            if count
        ]
        return [*self._notes, *cut]

    def note(self, texts: Iterable[str]) -> None:
        """Texts for the answer's ``Warning`` headers, each once."""
        self._notes.update(dict.fromkeys(texts))

    def tell_of_pipelines(self, index: str, name: str, fate: Fate) -> None:
        """Counts a document whose pipelines do not leave a field as the front fills it; says so once a request."""
        if self.exchange.front.observer is not None:
            self.exchange.front.observer.observe_pipeline_fate(fate)
        text = f"pipelines of documents for index [{index}] {_OF_FATES[fate].format(name)}"
        if text not in self._notes:
            _log.warning("vectors_meet_pipelines", index=index, field=name, fate=str(fate))
        self.note([text])

    async def embed(self, fillings: Sequence[Filling]) -> Vectors:
        """The vectors that all fillings want, each different text once per endpoint."""
        vectors = Vectors()
        waiting = list(fillings)
        for _ in range(MOST_HALVINGS):
            wanted: dict[str, tuple[EndpointProfile, list[str]]] = {}
            for profile, text in chain.from_iterable(filling.texts() for filling in waiting):
                if profile.inference_id not in wanted:
                    wanted[profile.inference_id] = (profile, [])
                if text not in vectors.made.get(profile.inference_id, ()):
                    wanted[profile.inference_id][1].append(text)
            vectors.add(await self._embedder.embed(wanted))
            if not vectors.truncated:
                break
            waiting = [filling for filling in waiting if split_cut_texts(filling, vectors)]
            if not waiting:
                break
        return vectors

    async def embed_texts(self, texts: Mapping[str, Iterable[str]]) -> tuple[Vectors, dict[str, SidecarError]]:
        """The vectors of texts by inference id, and what is wrong with ids that no endpoint has."""
        wanted: dict[str, tuple[EndpointProfile, list[str]]] = {}
        missing: dict[str, SidecarError] = {}
        for inference_id, of_endpoint in texts.items():
            profile = await self._finder.profile(inference_id)
            if profile is None:
                text = f"[{inference_id}] is not an inference service model or a deployed ml model"
                missing[inference_id] = ResourceNotFoundError(text)
            else:
                wanted[inference_id] = (profile, list(of_endpoint))
        return await self._embedder.embed(wanted), missing

    def completed(
        self, filling: Filling, vectors: Vectors, into: SourceText | None = None, *, may_pack: bool = False
    ) -> bytes:
        """The document's source with its vectors, of ``into`` where pipelines will still change it; see ``complete``.

        Raises:
            SidecarError: an inference failed.
        """
        try:
            return complete(filling, vectors, into, may_pack=may_pack)
        finally:
            if filling.notes:
                self.note(filling.notes)
            if filling.cut:
                self._cut.update(filling.cut)
