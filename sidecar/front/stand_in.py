"""A search body whose retrievers of ours are taken for one that every cluster reads, so that it can judge the form.

``text_similarity_reranker`` and ``pinned`` hold a child as ``rescorer`` does and become one, without the parameters
that only they have; ``rrf``, ``linear`` and ``auto`` become an empty ``standard``. What is taken out becomes blanks:
everything else stays in its place, for messages that name one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sidecar.front.json_members import Member, members

_CHILD_HOLDERS = frozenset({"text_similarity_reranker", "pinned"})
_BLANKED = frozenset({"rrf", "linear", "auto"})
_OF_THE_CLUSTER = frozenset({"rescorer", "diversify", "random_reranker"})
_OWN_PARAMETERS = frozenset(
    {"field", "inference_id", "inference_text", "rank_window_size", "chunk_rescorer", "allow_rerank_failures"}
    | {"failures_allowed", "budget", "on_failure", "ids", "docs"}
)
_STAND_IN = "rescorer"
_MOST_SHOWN = 500
_RESCORE = b'"rescore":{"query":{"rescore_query":{"match_all":{}}}}'
_EMPTY = b'"standard":{}'
# Java's own exceptions: of a chain of causes Elasticsearch names the deepest that is none of these.
_OF_JAVA = frozenset(
    {"illegal_argument_exception", "illegal_state_exception", "number_format_exception", "null_pointer_exception"}
    | {"json_parse_exception", "json_e_o_f_exception", "input_coercion_exception", "class_cast_exception"}
)
_OF_CONTENT = frozenset({"x_content_parse_exception", "named_object_not_found_exception", "x_content_e_o_f_exception"})
_OF_THE_SERVER = frozenset({"illegal_state_exception", "null_pointer_exception", "class_cast_exception"})


@dataclass(slots=True)
class StandIn:
    """``text`` is the body to be asked about, ``raw`` the caller's; ``kinds`` the retrievers from the root down."""

    raw: bytes
    text: bytes
    kinds: list[str] = field(default_factory=list)
    end: int = 0

    def own(self, error: Mapping[str, Any]) -> dict[str, Any]:
        """What the cluster says of ``text``, said of the caller's body."""
        chain = _chain(error)
        shown: list[dict[str, Any]] = []
        at = 0
        for place, one in enumerate(chain):
            below = chain[place + 1] if place + 1 < len(chain) else {}
            if one.get("reason") == f"{below.get('reason')}" and at < len(self.kinds) and self._is_standing(at):
                continue  # a rescorer tells everything twice
            new = dict(one)
            reason = str(one.get("reason"))
            if "[Source: " in reason:
                new["reason"] = reason = reason.replace(_shown(self.text), _shown(self.raw))
            if "[retriever] failed to parse field" in reason:
                at += 1
            if at < len(self.kinds) and self._is_standing(at):
                new["reason"] = reason.replace(f"[{_STAND_IN}]", f"[{self.kinds[at]}]")
            shown.append(new)
        return _linked(shown)

    def _is_standing(self, at: int) -> bool:
        return self.kinds[at] in _CHILD_HOLDERS


def status_of(error: Mapping[str, Any], status: int) -> int:
    """The status of an error from which levels were taken away."""
    return 500 if error.get("type") in _OF_THE_SERVER else status


def stand_in(raw: bytes) -> StandIn:
    """The stand-in for a search body, the text of a JSON object without comments."""
    found = StandIn(raw, raw)
    edits: list[tuple[int, int, bytes]] = []
    for member in _members(raw, raw.index(b"{")):
        if member.name == "retriever":
            found.end = member.end
            _retriever(raw, member.value, edits, found.kinds)
    text = b""
    at = 0
    for start, end, new in sorted(edits):
        text += raw[at:start] + new.ljust(end - start)
        at = end
    found.text = text + raw[at:]
    return found


def _shown(text: bytes) -> str:
    """As much of a text as messages about it repeat."""
    return text[:_MOST_SHOWN].decode(errors="ignore")


def _retriever(raw: bytes, at: int, edits: list[tuple[int, int, bytes]], kinds: list[str]) -> None:
    if raw[at : at + 1] != b"{":
        return
    held, _ = members(raw, at)
    if not held:
        return
    first = held[0]
    kinds.append(first.name)
    is_object = raw[first.value : first.value + 1] == b"{"
    if first.name in _BLANKED:
        edits.append((first.start, first.end, _EMPTY))
    elif first.name in _CHILD_HOLDERS:
        name_end = raw.index(b'"', first.start + 1) + 1
        edits.append((first.start, name_end, f'"{_STAND_IN}"'.encode()))
        if is_object:
            _parameters(raw, first.value, edits, kinds)
    elif first.name in _OF_THE_CLUSTER and is_object:
        for member in _members(raw, first.value):
            if member.name == "retriever":
                _retriever(raw, member.value, edits, kinds)


def _parameters(raw: bytes, at: int, edits: list[tuple[int, int, bytes]], kinds: list[str]) -> None:
    """A holder's parameters: its own ones become blanks, in the first gap with room for it the rescore is put."""
    held, last = members(raw, at)
    needs_rescore = True
    place, comma = at + 1, b""
    for member in held:
        if member.name in _OWN_PARAMETERS:
            continue
        new = comma
        if needs_rescore and member.start - place > len(_RESCORE) + 1:
            new += _RESCORE + b","
            needs_rescore = False
        edits.append((place, member.start, new))
        if member.name == "retriever":
            _retriever(raw, member.value, edits, kinds)
        place, comma = member.end, b","
    edits.append((place, last, comma + _RESCORE if needs_rescore else b""))


def _members(raw: bytes, at: int) -> list[Member]:
    return members(raw, at)[0]


def _chain(error: Mapping[str, Any]) -> list[dict[str, Any]]:
    found = []
    node: Any = error
    while isinstance(node, Mapping):
        found.append({name: value for name, value in node.items() if name not in ("caused_by", "root_cause")})
        node = node.get("caused_by")
    return found


def _names_its_cause(one: Mapping[str, Any], cause: Mapping[str, Any]) -> bool:
    kind, below = one.get("type"), cause.get("type")
    return below not in _OF_JAVA and (kind in _OF_CONTENT or below not in _OF_CONTENT)


def _linked(chain: list[dict[str, Any]]) -> dict[str, Any]:
    root = 0
    while root + 1 < len(chain) and _names_its_cause(chain[root], chain[root + 1]):
        root += 1
    whole: dict[str, Any] = {}
    for one in reversed(chain):
        whole = {**one, "caused_by": whole} if whole else dict(one)
    return {"root_cause": [chain[root]], **whole}
