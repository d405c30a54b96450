"""The settings of the ``custom`` service, which describe a whole HTTP exchange.

Elasticsearch reads them in stages; a stage with complaints is reported before the next one is looked at.
Source: Elasticsearch API reference, "Create a custom inference endpoint"; stages and wordings as real nodes answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from sidecar.core.errors import StatusError
from sidecar.core.generations import Generation
from sidecar.core.javatext import java_text, java_type
from sidecar.services.setting_kinds import Choice, Text, TextMap
from sidecar.services.settings import Reading, Setting

JSON_PARSER = "json_parser"
OWNER = "custom_service_settings"
_INPUT_TYPES = ("ingest", "search", "classification", "clustering")


def unknown_within(values: Mapping[str, Any], field_name: str, owner: str, generation: Generation) -> StatusError:
    return StatusError(
        f"{generation.configuration_noun} contains unknown settings [{java_text(values)}] "
        f"while parsing field [{field_name}] for settings [{owner}]"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryParameters(Setting):
    """A list of pairs of strings; their order stays and names may repeat."""

    java_name: ClassVar[str] = "List"
    expected: ClassVar[type | tuple[type, ...]] = list

    def checked(self, value: Any, reading: Reading) -> Any:
        for index, entry in enumerate(value):
            if problem := _problem_of_pair(entry):
                reading.complain(
                    f"[{reading.scope}] failed to parse tuple list entry [{index}] for setting [{self.name}], {problem}"
                )
                return None
        return value or None


def _problem_of_pair(entry: Any) -> str | None:
    if not isinstance(entry, list):
        return f"expected a list but the entry is [{'null' if entry is None else java_type(entry)}]"
    if len(entry) != 2:
        return f"the tuple list size must be two, but was [{len(entry)}]"
    for item, place in zip(entry, ("first", "second"), strict=True):
        if not isinstance(item, str):
            found = "null" if item is None else java_type(item)
            return f"the {place} element must be a string but was [{found}]"
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Headers(TextMap):
    """A map of strings whose bad entries end the stage, and which is not kept when it is empty."""

    def checked(self, value: Any, reading: Reading) -> Any:
        kept = TextMap.checked(self, value, reading)
        if kept is None:
            reading.finish()
        return kept or None


@dataclass(frozen=True, slots=True, kw_only=True)
class Secrets(TextMap):
    """The map of secrets; its complaints never quote an entry."""

    name: str = "secret_parameters"
    shown: bool = False
    mutable: bool = True

    def checked(self, value: Any, reading: Reading) -> Any:
        kept = {key: item for key, item in value.items() if item is not None}
        if any(not isinstance(item, str) for item in kept.values()):
            reading.complain(
                f"Map field [{self.name}] has an entry that is not valid. Value type is not one of [String]."
            )
            return None
        return kept


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameters(TextMap):
    """The task's parameters: strings, numbers and booleans."""

    name: str = "parameters"

    allowed: ClassVar[tuple[str, ...]] = ("Boolean", "Double", "Float", "Integer", "String")

    def checked(self, value: Any, reading: Reading) -> Any:
        return TextMap.checked(self, value, reading) or None


@dataclass(frozen=True, slots=True, kw_only=True)
class InputTypes(Setting):
    """How input types are called by the provider: ``translation`` by type, and a ``default`` for the rest."""

    name: str = "input_type"
    default: Any = field(default_factory=lambda: {"translation": {}, "default": ""})

    java_name: ClassVar[str] = "Map"
    expected: ClassVar[type | tuple[type, ...]] = dict

    def checked(self, value: Any, reading: Reading) -> Any:
        inner = Reading(dict(value), f"{reading.scope}.{self.name}", reading.generation, reading.service)
        translation = inner.take("translation", dict, "Map") or {}
        default = inner.take("default", str, "String")
        names: dict[str, str] = {}
        for key, name in translation.items():
            if problem := _problem_of_translation(key, name):
                inner.complain(problem)
                break
            names[key.lower()] = name
        if inner.values:
            raise unknown_within(inner.values, self.name, "input_type_translator", reading.generation)
        reading.messages.extend(inner.messages)
        return {"translation": names, "default": default or ""}


def _problem_of_translation(key: str, name: Any) -> str | None:
    if key.lower() not in _INPUT_TYPES:
        allowed = ", ".join(_INPUT_TYPES)
        return f"Invalid input type translation for key: [{key}], is not a valid value. Must be one of [{allowed}]"
    if isinstance(name, str) and name:
        return None
    found = "null" if name is None else java_type(name)
    return (
        f"Input type translation value for key [{key}] must be a String that is not null and not empty, "
        f"received: [{java_text(name)}], type: [{found}]."
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ResponseShape(Setting):
    """Looks at ``response`` without taking it: whether it is there and holds a parser.

    Where it does, what is wrong so far is reported at once.
    """

    name: str = "response"

    expected: ClassVar[type | tuple[type, ...]] = dict

    def read(self, reading: Reading) -> None:
        response = _non_empty_map(reading, reading.values.get(self.name), self.name)
        inner = Reading({}, f"{reading.scope}.{self.name}", reading.generation, reading.service)
        parser = _non_empty_map(inner, (response or {}).get(JSON_PARSER), JSON_PARSER)
        reading.messages.extend(inner.messages)
        if parser:
            reading.finish()


def _non_empty_map(reading: Reading, value: Any, name: str) -> dict[str, Any] | None:
    if value is None:
        reading.complain(f"[{reading.scope}] does not contain the required setting [{name}]")
        return None
    if not isinstance(value, dict):
        reading.complain(
            f"field [{name}] is not of the expected type. The value [{java_text(value)}] cannot be converted to a [Map]"
        )
        return None
    if not value:
        reading.complain(f"[{reading.scope}] Invalid value empty map. [{name}] must be a non-empty map")
    return value


@dataclass(frozen=True, slots=True, kw_only=True)
class Response(Setting):
    """``response.json_parser``, whose ``paths`` depend on the task type; comes after a :class:`ResponseShape`."""

    name: str = "response"
    paths: tuple[Setting, ...]

    expected: ClassVar[type | tuple[type, ...]] = dict

    def read(self, reading: Reading) -> Any:
        response = dict(reading.values.pop(self.name))
        scope = f"{reading.scope}.{self.name}.{JSON_PARSER}"
        parser = Reading(dict(response.pop(JSON_PARSER)), scope, reading.generation, reading.service)
        known = [path for path in self.paths if path.is_known(reading.generation)]
        values = {path.name: path.read(parser) for path in known}
        parser.finish()
        for left, place in ((parser.values, JSON_PARSER), (response, self.name)):
            if left:
                raise unknown_within(left, place, OWNER, reading.generation)
        return {JSON_PARSER: {name: value for name, value in values.items() if value is not None}}

    def stored_problem(self, values: Mapping[str, Any]) -> str | None:
        response = values.get(self.name)
        parser = response.get(JSON_PARSER) if isinstance(response, Mapping) else None
        if not isinstance(parser, Mapping):
            return f"its {self.name} is none"
        return next((problem for path in self.paths if (problem := path.stored_problem(parser))), None)


def path(name: str, *, required: bool = True) -> Text:
    """A path into the answer."""
    return Text(name=name, required=required)


EMBEDDING_TYPE = Choice(name="embedding_type", choices=("float", "byte", "bit", "binary"), default="float", since="9.4")
