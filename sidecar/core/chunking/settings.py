"""``chunking_settings``: how an endpoint wants long texts cut, checked and completed as Elasticsearch does.

Source: Elasticsearch's API reference, "Create an inference endpoint", ``chunking_settings``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from sidecar.core.chunking.recursive import SEPARATOR_GROUPS
from sidecar.core.errors import IllegalArgumentError, ValidationError
from sidecar.core.generations import Generation
from sidecar.core.javatext import java_text, java_type

DEFAULT_CHUNKING: Mapping[str, Any] = {"strategy": "sentence", "max_chunk_size": 250, "sentence_overlap": 1}
LEGACY_CHUNKING: Mapping[str, Any] = {"strategy": "word", "max_chunk_size": 250, "overlap": 100}
"""What endpoints without settings behave as up to 8.19; from 9 on they behave as :data:`DEFAULT_CHUNKING`."""

_SCOPE = "[chunking_settings]"
_SMALLEST_SENTENCE_CHUNK = 20
_SMALLEST_WORD_CHUNK = 10


def parse_chunking_settings(value: Any, *, generation: Generation) -> dict[str, Any]:
    """Checked settings in the form in which they are stored and shown; parsing that form again changes nothing.

    ``None`` and ``{}`` give :data:`DEFAULT_CHUNKING`; ``separator_group`` is replaced by its separators. Raises
    ``IllegalArgumentError`` for a missing or unknown strategy and ``ValidationError`` for everything else.
    """
    if value is None or value == {}:
        return dict(DEFAULT_CHUNKING)
    if not isinstance(value, Mapping):
        raise ValidationError(_wrong_type("chunking_settings", value, "Map"))
    strategy = value.get("strategy")
    if strategy is None:
        raise IllegalArgumentError("Can't generate Chunker without ChunkingStrategy provided")
    parser = _PARSERS.get(strategy) if isinstance(strategy, str) else None
    if parser is None or (strategy in _LATER_STRATEGIES and not generation.at_least("8.19")):
        raise IllegalArgumentError(f"Invalid chunkingStrategy {java_text(strategy)}")
    reader = _Reader(value, generation)
    settings = parser(reader)
    if reader.errors:
        raise ValidationError(*reader.errors)
    return {"strategy": strategy, **settings}


class _Reader:
    """Takes typed values out of the settings and collects what is wrong with them."""

    def __init__(self, value: Mapping[str, Any], generation: Generation) -> None:
        self.errors: list[str] = []
        self._value = value
        self._article = generation.bound_article
        self._limit = generation.sentence_chunk_limit

    def only(self, kind: str, *allowed: str) -> None:
        foreign = [key for key in self._value if key != "strategy" and key not in allowed]
        if foreign:
            self.errors.append(f"{kind} chunking settings can not have the following settings: [{', '.join(foreign)}]")

    def typed(self, name: str, java_name: str) -> Any:
        found = self._value.get(name)
        if found is None or java_type(found) == java_name:
            return found
        self.errors.append(_wrong_type(name, found, java_name))
        return None

    def size(self, smallest: int) -> int | None:
        # The limit is named after sentences, but Elasticsearch 8 refuses longer chunks of words and pieces too.
        return self._required("max_chunk_size", smallest, self._limit)

    def overlap(self, largest: int) -> int | None:
        return self._required("overlap", None, largest)

    def _required(self, name: str, smallest: int | None, largest: int | None) -> int | None:
        before = len(self.errors)
        found: int | None = self.typed(name, "Integer")
        if found is None:
            if len(self.errors) == before:
                self.errors.append(f"{_SCOPE} does not contain the required setting [{name}]")
        elif found <= 0:
            self.errors.append(f"{_SCOPE} Invalid value [{found}]. [{name}] must be a positive integer")
        elif smallest is not None and found < smallest:
            self._out_of_bounds(name, found, "greater", smallest)
        elif largest is not None and found > largest:
            self._out_of_bounds(name, found, "less", largest)
        else:
            return found
        return None

    def _out_of_bounds(self, name: str, found: int, side: str, bound: int) -> None:
        self.errors.append(
            f"{_SCOPE} Invalid value [{java_text(float(found))}]. [{name}] must be {self._article}{side} than or equal "
            f"to [{java_text(float(bound))}]"
        )


def _sentence(reader: _Reader) -> dict[str, Any]:
    reader.only("Sentence based", "max_chunk_size", "sentence_overlap")
    size = reader.size(_SMALLEST_SENTENCE_CHUNK)
    overlap = reader.typed("sentence_overlap", "Integer")
    if overlap is None:
        overlap = 1
    elif overlap not in (0, 1):
        reader.errors.append(f"sentence_overlap[{overlap}] must be either 0 or 1")
    return {"max_chunk_size": size, "sentence_overlap": overlap}


def _word(reader: _Reader) -> dict[str, Any]:
    reader.only("Word based", "max_chunk_size", "overlap")
    size = reader.size(_SMALLEST_WORD_CHUNK)
    overlap = reader.overlap(size // 2) if size is not None else None
    return {"max_chunk_size": size, "overlap": overlap}


def _recursive(reader: _Reader) -> dict[str, Any]:
    reader.only("Recursive", "max_chunk_size", "separators", "separator_group")
    size = reader.size(_SMALLEST_WORD_CHUNK)
    group = reader.typed("separator_group", "String")
    if group == "":
        reader.errors.append(f"{_SCOPE} Invalid value empty string. [separator_group] must be a non-empty string")
        group = None
    elif group is not None and group.lower() not in SEPARATOR_GROUPS:
        names = ", ".join(sorted(SEPARATOR_GROUPS))
        reader.errors.append(f"{_SCOPE} Invalid value [{group}] received. [separator_group] must be one of [{names}]")
        group = None
    separators = reader.typed("separators", "List")
    if separators is not None:
        if group is not None:
            reader.errors.append("Recursive chunking settings can not have both separators and separator_set")
        elif not separators:
            reader.errors.append("Recursive chunking settings can not have an empty list of separators")
        reader.errors += [
            _wrong_type("separators", separator, "String") for separator in separators if not isinstance(separator, str)
        ]
    else:
        separators = SEPARATOR_GROUPS[(group or "plaintext").lower()]
    return {"max_chunk_size": size, "separators": list(separators)}


def _none(reader: _Reader) -> dict[str, Any]:
    return {}


_PARSERS: dict[str, Callable[[_Reader], dict[str, Any]]] = {
    "sentence": _sentence,
    "word": _word,
    "recursive": _recursive,
    "none": _none,
}
_LATER_STRATEGIES = frozenset({"recursive", "none"})


def _wrong_type(name: str, value: Any, java_name: str) -> str:
    return (
        f"field [{name}] is not of the expected type. The value [{java_text(value)}] cannot be converted to a "
        f"[{java_name}]"
    )
