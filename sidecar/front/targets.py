"""What the front fills in the documents of one index: its bindings and ``semantic_text`` fields, as far as they are of
the sidecar's own endpoints. All others are the cluster's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from elasticsearch import ApiError

from sidecar.core.errors import IllegalArgumentError, ResourceNotFoundError, SidecarError
from sidecar.core.tasks import ElementType, TaskType
from sidecar.elastic.bindings import Binding, LongTexts, OnFailure, SemanticText, UnreadBinding
from sidecar.elastic.fields import field_at, nested_parent
from sidecar.elastic.index_catalog import IndexCatalog, IndexView
from sidecar.elastic.version import ServerVersion
from sidecar.inference.embedder import EndpointProfile
from sidecar.inference.endpoint_embedder import EndpointEmbedder
from sidecar.inference.facade import Inference
from sidecar.ingest.cutting import Cutting, cutting_of
from sidecar.ingest.marker import MARKER_FIELD
from sidecar.ingest.pieces import Splitter, whole
from sidecar.ingest.semantic_field import model_settings, semantic_cutting, sources_of
from sidecar.ingest.source_rules import why_no_text
from sidecar.ingest.stop import WrongFieldError
from sidecar.ingest.target_fields import check_shape

_EMBEDS = (TaskType.SPARSE_EMBEDDING, TaskType.TEXT_EMBEDDING, TaskType.EMBEDDING)
_VECTOR_TYPES = ("sparse_vector", "dense_vector", "rank_features")


@dataclass(frozen=True, slots=True)
class SemanticTarget:
    """A ``semantic_text`` field with the endpoint that fills it.

    Made once for many documents: ``sources`` are all fields whose text it holds, ``circumstances`` go into the hash of
    it, ``model`` and ``origin`` are what the marker says of its chunks. With ``conflicts`` the mapping holds vectors of
    another shape than the endpoint makes.
    """

    mapped: SemanticText
    profile: EndpointProfile
    model_settings: Mapping[str, Any]
    splitter: Splitter = field(compare=False)
    circumstances: tuple[str, ...] = ()
    counts_tokens: bool = False
    name: str = field(init=False)
    sources: tuple[str, ...] = field(init=False)
    conflicts: bool = field(init=False)
    model: str = field(init=False)
    origin: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", self.mapped.name)
        object.__setattr__(self, "sources", sources_of(self.mapped))
        object.__setattr__(self, "conflicts", _conflicts(self.mapped.model_settings or {}, self.model_settings))
        object.__setattr__(self, "model", self.profile.model)
        object.__setattr__(self, "origin", ",".join(self.sources))


def _conflicts(fixed: Mapping[str, Any], made: Mapping[str, Any]) -> bool:
    """Whether Elasticsearch refuses results with settings ``made`` where it has ``fixed``; the service may differ."""
    names = ("task_type", "dimensions", "similarity", "element_type")
    known = {name: made.get(name) for name in names if fixed.get(name) is not None}
    return any(value is not None and value != fixed[name] for name, value in known.items())


@dataclass(frozen=True, slots=True)
class VectorTarget:
    """A vector field that a binding fills. ``circumstances`` go into the hash of its text.

    Made once for many documents: ``name`` is the field's, ``place`` the path that is written (``Binding.place``),
    ``model`` and ``origin`` what the marker says of the vector. With ``takes_packed`` the cluster reads it in base64.
    ``is_kept_apart``: the cluster keeps it beside the document, and puts it in where one reads.
    """

    binding: Binding
    profile: EndpointProfile
    splitter: Splitter = field(default=whole, compare=False)
    circumstances: tuple[str, ...] = ()
    counts_tokens: bool = False
    takes_packed: bool = False
    is_kept_apart: bool = False
    name: str = field(init=False)
    place: str = field(init=False)
    model: str = field(init=False)
    origin: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", self.binding.target)
        object.__setattr__(self, "place", self.binding.place)
        object.__setattr__(self, "model", self.profile.model)
        object.__setattr__(self, "origin", ",".join(self.binding.sources))


@dataclass(frozen=True, slots=True)
class Unfillable:
    """A field that is bound and cannot be filled: documents with text for it are refused with ``error``, unpaid.

    ``place`` and ``sources`` are paths; ``None`` and none where the binding does not say which: it may be any field.
    """

    error: SidecarError = field(compare=False)
    place: str | None = None
    sources: tuple[str, ...] = ()
    overwrite: bool = False


@dataclass(frozen=True, slots=True)
class WritePlan:
    """All targets of one concrete ``index``; ``complaints`` say which bindings cannot be followed, and why.

    ``missing`` are ``semantic_text`` fields whose endpoint nobody has; looked for on 8.x, which tells of its licence
    in place of that.
    ``foreign`` are those of endpoints that the sidecar has not; ``mixed`` those of them that the cluster fills beside
    ours.
    ``has_semantic_text`` is true for fields of foreign endpoints as well: the cluster reads such documents strictly.
    ``is_refused``: the cluster refuses every document for it, and says so itself.
    With ``counts_tokens`` looking at a document counts tokens of its texts, which is not for the event loop.
    With ``fills_blanks`` blank texts of ``semantic_text`` get empty results: 8.x would ask an endpoint about them.
    """

    index: str
    semantic: tuple[SemanticTarget, ...] = ()
    vectors: tuple[VectorTarget, ...] = ()
    missing: tuple[SemanticText, ...] = ()
    foreign: tuple[SemanticText, ...] = ()
    mixed: tuple[SemanticText, ...] = ()
    has_semantic_text: bool = False
    fills_blanks: bool = False
    has_marker: bool = False
    marks_source: bool = False
    default_pipeline: str | None = None
    final_pipeline: str | None = None
    complaints: tuple[str, ...] = ()
    unfillable: tuple[Unfillable, ...] = ()
    is_refused: bool = False
    counts_tokens: bool = field(init=False)

    def __post_init__(self) -> None:
        counting = [target.counts_tokens for target in self.semantic] + [
            target.counts_tokens for target in self.vectors
        ]
        object.__setattr__(self, "counts_tokens", any(counting))

    def __bool__(self) -> bool:
        return bool(self.semantic or self.vectors or self.missing or self.unfillable)

    @property
    def inference_ids(self) -> tuple[str, ...]:
        """The endpoints that a write may call."""
        profiles = [*(target.profile for target in self.semantic), *(target.profile for target in self.vectors)]
        return tuple(dict.fromkeys(profile.inference_id for profile in profiles))


class TargetFinder:
    """Makes plans of views; looks every endpoint up once."""

    def __init__(self, inference: Inference, catalog: IndexCatalog, version: ServerVersion) -> None:
        self._catalog = catalog
        self._version = version
        self._fills_blanks = version.major < 9
        self._embedder = EndpointEmbedder(inference)
        self._profiles: dict[str, EndpointProfile | None] = {}
        self._plans: dict[int, tuple[IndexView, WritePlan]] = {}

    async def plan(self, view: IndexView) -> WritePlan:
        """What is to be filled in documents of the index behind ``view``."""
        known = self._plans.get(id(view))
        if known is not None and known[0] is view:
            return known[1]
        semantic: list[SemanticTarget] = []
        vectors: list[VectorTarget] = []
        missing: list[SemanticText] = []
        foreign: list[SemanticText] = []
        complaints = [f"index [{view.name}]: {unread.reason}" for unread in view.unread]
        unfillable = [_unread(view, unread) for unread in view.unread]
        for semantic_field in view.semantic:
            profile = await self.profile(semantic_field.inference_id)
            if profile is not None and profile.task_type in _EMBEDS:
                semantic.append(_semantic_target(semantic_field, profile, self._version))
            elif (
                profile is None
                and self._fills_blanks
                and not await self._catalog.has_endpoint(semantic_field.inference_id)
            ):
                missing.append(semantic_field)
            elif profile is None:
                foreign.append(semantic_field)
        for binding in view.bindings:
            profile = await self.profile(binding.inference_id)
            if profile is not None and (complaint := _complaint(view, binding, profile)):
                complaints.append(complaint)
            elif (error := _misfit(view, binding, profile)) is not None:
                if binding.on_failure is OnFailure.INDEX_PENDING:
                    complaints.append(f"field [{binding.target}] of index [{view.name}] is not filled: {error.reason}")
                else:
                    unfillable.append(Unfillable(error, binding.place, binding.sources, binding.overwrite))
            elif profile is not None:
                target = _vector_target(binding, profile)
                vectors.append(
                    replace(
                        target, takes_packed=_takes_packed(view, target), is_kept_apart=_is_kept_apart(view, target)
                    )
                )
                complaints += _without_texts(view, binding)
        vectors, misfits = _sharing_passages(view, vectors)
        complaints += misfits
        mixed = [mapped for mapped in foreign if await self._is_the_clusters(mapped)] if semantic else []
        plan = WritePlan(
            view.name,
            tuple(semantic),
            tuple(vectors),
            tuple(missing),
            foreign=tuple(foreign),
            mixed=tuple(mixed),
            has_semantic_text=bool(view.semantic),
            fills_blanks=self._fills_blanks,
            has_marker=field_at(view.mapping, f"{MARKER_FIELD}.model") is not None,
            marks_source=field_at(view.mapping, f"{MARKER_FIELD}.source") is not None,
            default_pipeline=view.default_pipeline,
            final_pipeline=view.final_pipeline,
            complaints=tuple(complaints),
            unfillable=tuple(unfillable),
        )
        self._plans[id(view)] = (view, plan)
        return plan

    async def renew(self) -> None:
        """Forgets all plans where an endpoint of theirs is another one by now, or gone: a bulk may take an hour."""
        for inference_id, known in list(self._profiles.items()):
            try:
                is_other = known is not None and await self._found(inference_id) != known
            except SidecarError:  # the store is away: whoever calls the endpoint hears of it
                continue
            if is_other:
                self._profiles.clear()
                self._plans.clear()
                return

    async def _is_the_clusters(self, mapped: SemanticText) -> bool:
        try:
            return await self._catalog.has_endpoint(mapped.inference_id)
        except ApiError:  # not the sidecar's to know; the cluster refuses documents that it cannot take
            return False

    async def profile(self, inference_id: str) -> EndpointProfile | None:
        """What is known of an endpoint; ``None`` where the sidecar has none of that id."""
        if inference_id not in self._profiles:
            self._profiles[inference_id] = await self._found(inference_id)
        return self._profiles[inference_id]

    async def _found(self, inference_id: str) -> EndpointProfile | None:
        try:
            return await self._embedder.profile(inference_id)
        except ResourceNotFoundError:
            return None


def _semantic_target(mapped: SemanticText, profile: EndpointProfile, version: ServerVersion) -> SemanticTarget:
    cutting = semantic_cutting(profile, mapped.chunking_settings, version)
    return SemanticTarget(
        mapped, profile, model_settings(profile), cutting.splitter, cutting.circumstances, cutting.counts_tokens
    )


def _vector_target(binding: Binding, profile: EndpointProfile) -> VectorTarget:
    if not binding.passages and binding.long_texts is not LongTexts.CHUNK:
        return VectorTarget(binding, profile)
    cutting = cutting_of([profile], binding.chunking_settings)
    return VectorTarget(binding, profile, cutting.splitter, cutting.circumstances, cutting.counts_tokens)


def _takes_packed(view: IndexView, target: VectorTarget) -> bool:
    """Whether it makes no difference to anybody who reads documents that the vector was written in base64."""
    mapped = field_at(view.mapping, target.name) or {}
    is_indexed_float = mapped.get("index", True) is True and mapped.get("element_type", "float") == "float"
    is_plain = mapped.get("type") == "dense_vector" and not target.binding.passages and not mapped.get("copy_to")
    return view.packs_vectors and is_plain and is_indexed_float and target.profile.element_type is ElementType.FLOAT


def _is_kept_apart(view: IndexView, target: VectorTarget) -> bool:
    mapped = field_at(view.mapping, target.name) or {}
    is_indexed = mapped.get("type") == "dense_vector" and mapped.get("index", True) is True
    return view.packs_vectors and is_indexed and not target.binding.passages


def _sharing_passages(view: IndexView, vectors: Sequence[VectorTarget]) -> tuple[list[VectorTarget], list[str]]:
    """The targets, all of one passages' field with the same pieces; and why some cannot be filled."""
    kept: list[VectorTarget] = []
    complaints = []
    cuttings: dict[str, Cutting] = {}
    for target in vectors:
        held = [other for other in vectors if other.binding.passages and other.place == target.place]
        if not target.binding.passages or len(held) == 1:
            kept.append(target)
            continue
        if target.binding.sources != held[0].binding.sources:
            complaints.append(
                f"field [{target.name}] of index [{view.name}] is not filled: passages [{target.place}] would be cut"
                f" from two fields, [{','.join(held[0].binding.sources)}] and [{','.join(target.binding.sources)}]"
            )
            continue
        given = next((one.binding.chunking_settings for one in held if one.binding.chunking_settings), None)
        try:
            if target.place not in cuttings:
                cuttings[target.place] = cutting_of([one.profile for one in held], given)
        except SidecarError as error:
            complaints.append(f"field [{target.name}] of index [{view.name}] is not filled: {error.reason}")
            continue
        cutting = cuttings[target.place]
        kept.append(
            replace(
                target,
                splitter=cutting.splitter,
                circumstances=cutting.circumstances,
                counts_tokens=cutting.counts_tokens,
            )
        )
    return kept, complaints


def _without_texts(view: IndexView, binding: Binding) -> list[str]:
    """What is to be said of sources in which no document can hold a text; bindings by hand may name such."""
    return [
        f"field [{binding.target}] of index [{view.name}] is not filled from [{path}]: it {reason}"
        for path in binding.sources
        if (reason := why_no_text(view.mapping, path))
    ]


def _unread(view: IndexView, unread: UnreadBinding) -> Unfillable:
    error = IllegalArgumentError(
        f"index [{view.name}] has a binding that cannot be followed, so a bound field would be left empty:"
        f" {unread.reason}; mend it, or take it out with [sidecar unbind {view.name}]"
    )
    return Unfillable(error, unread.target, unread.sources)


def _misfit(view: IndexView, binding: Binding, profile: EndpointProfile | None) -> SidecarError | None:
    """Why what a binding asks for cannot be made, or cannot be stored; ``None`` where it can."""
    if profile is None:
        return ResourceNotFoundError(f"Inference id [{binding.inference_id}] not found for field [{binding.target}]")
    mapped = field_at(view.mapping, binding.target) or {}
    if profile.is_sparse and mapped.get("type") == "rank_features":
        return None
    try:
        check_shape(view.name, binding.target, mapped, profile)
    except WrongFieldError as error:
        return IllegalArgumentError(str(error))
    return None


def _complaint(view: IndexView, binding: Binding, profile: EndpointProfile) -> str | None:
    """Why a binding cannot be followed in an index; ``None`` where it can."""
    where = f"field [{binding.target}] of index [{view.name}]"
    if profile.task_type not in _EMBEDS:
        return f"{where} is not filled: endpoint [{profile.inference_id}] makes no vectors"
    mapped = field_at(view.mapping, binding.target)
    if mapped is None or mapped.get("type") not in _VECTOR_TYPES:
        # Unmapped, every token of a sparse vector would become a field of its own.
        return f"{where} is not filled: it is not mapped as a vector, see [sidecar bind]"
    if binding.passages != (nested_parent(view.mapping, binding.target) is not None):
        return f"{where} is not filled: passages, and nothing else, lie in a nested field"
    try:
        _vector_target(binding, profile)
    except SidecarError as error:
        return f"{where} is not filled: {error.reason}"
    return None
