"""The body and the parameters of ``_update``, as far as they must be understood to do it in the cluster's place."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_FIELDS = frozenset(
    {"doc", "script", "upsert", "doc_as_upsert", "scripted_upsert", "detect_noop", "_source", "if_seq_no"}
    | {"if_primary_term"}
)
_FLAGS = ("doc_as_upsert", "scripted_upsert", "detect_noop")
_OF_THE_WRITE = ("refresh", "timeout", "wait_for_active_shards", "routing", "include_source_on_error")
_SHOWN = ("_source", "_source_includes", "_source_excludes", "_source_exclude_vectors")
_PARAMETERS = frozenset(
    {*_OF_THE_WRITE, *_SHOWN, "if_seq_no", "if_primary_term", "retry_on_conflict", "require_alias", "doc_as_upsert"}
    | {"pretty", "human", "error_trace", "filter_path", "format"}
)
_NUMBER = re.compile(r"-?\d+")
_TRUE = (True, "true")
_FLAG = (*_TRUE, False, "false", "")


@dataclass(frozen=True, slots=True)
class UpdateRequest:
    """An update that the cluster would not refuse. ``seq_no`` and ``primary_term`` are those the caller asks for.

    ``shown`` are the parameters of the get API that give the ``_source`` the caller wants back, ``None`` for none.
    """

    doc: Mapping[str, Any] | None
    script: Any
    upsert: Mapping[str, Any] | None
    scripted_upsert: bool
    detect_noop: bool
    seq_no: int | None
    primary_term: int | None
    retries: int
    routing: str | None
    write_parameters: Mapping[str, str]
    shown: Mapping[str, str] | None

    @classmethod
    def read(cls, body: Mapping[str, Any], parameters: Mapping[str, str]) -> UpdateRequest | None:
        """The request; ``None`` for one that only the cluster can judge, or that it refuses."""
        if not _FIELDS.issuperset(body) or not _PARAMETERS.issuperset(parameters):
            return None
        doc, script, upsert = body.get("doc"), body.get("script"), body.get("upsert")
        if (doc is None) == (script is None) or not isinstance(doc, (dict, type(None))):
            return None
        if not isinstance(upsert, (dict, type(None))) or not all(
            isinstance(body.get(flag, False), (bool, str)) and body.get(flag, False) in _FLAG for flag in _FLAGS
        ):
            return None
        if not isinstance(script, (dict, str, type(None))):
            return None
        inserts_doc = inserts_its_doc(body, parameters)
        retries, guard = (
            parameters.get("retry_on_conflict", "0"),
            (
                _number(body.get("if_seq_no", parameters.get("if_seq_no"))),
                _number(body.get("if_primary_term", parameters.get("if_primary_term"))),
            ),
        )
        if not _NUMBER.fullmatch(retries) or (guard[0] is None) != (guard[1] is None):
            return None
        if guard[0] is not None and (int(retries) or upsert is not None or inserts_doc):
            return None
        shown = _shown(body.get("_source"), parameters)
        if shown is _UNREADABLE:
            return None
        return cls(
            doc=doc,
            script=script,
            upsert=doc if inserts_doc else upsert,
            scripted_upsert=body.get("scripted_upsert") in _TRUE,
            detect_noop=body.get("detect_noop", True) in _TRUE,
            seq_no=guard[0],
            primary_term=guard[1],
            retries=max(0, int(retries)),
            routing=parameters.get("routing"),
            write_parameters={name: parameters[name] for name in _OF_THE_WRITE if name in parameters},
            shown=shown,
        )


_UNREADABLE: Mapping[str, str] = {"": ""}


def inserts_its_doc(body: Mapping[str, Any], parameters: Mapping[str, str] | None = None) -> bool:
    """Whether an update inserts its ``doc`` where there is no document; the body's word holds before a parameter's."""
    if "doc_as_upsert" in body:
        return body["doc_as_upsert"] in _TRUE
    return (parameters or {}).get("doc_as_upsert") in ("", "true")


def _number(value: Any) -> int | None:
    return int(value) if isinstance(value, (int, str)) and str(value).isdecimal() else None


def _shown(value: Any, parameters: Mapping[str, str]) -> Mapping[str, str] | None:
    named = {name: parameters[name] for name in _SHOWN if name in parameters}
    if named:
        return None if named == {"_source": "false"} else named
    if value is None or value is False:
        return None
    if value is True:
        return {"_source": "true"}
    if isinstance(value, str):
        return {"_source": value}
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return {"_source_includes": ",".join(value)}
    if isinstance(value, dict):
        parts = {
            "_source_includes": value.get("includes", value.get("include")),
            "_source_excludes": value.get("excludes", value.get("exclude")),
        }
        lists = {name: [part] if isinstance(part, str) else part for name, part in parts.items() if part is not None}
        if all(isinstance(part, list) and all(isinstance(item, str) for item in part) for part in lists.values()):
            return {name: ",".join(part) for name, part in lists.items() if part}
    return _UNREADABLE
