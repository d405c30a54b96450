"""The kinds of settings, by the type and the bounds of their values.

Source: Elasticsearch API reference, "Create an inference endpoint"; wordings as real nodes answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from sidecar.core.errors import StatusError
from sidecar.core.generations import Generation
from sidecar.core.java_uri import uri_problem
from sidecar.core.javatext import java_text, java_type
from sidecar.services.settings import Listed, Reading, Setting, unknown_settings

# what Java trims: the control characters and the space
SPACE = "".join(map(chr, range(0x21)))


def _invalid(reading: Reading, value: Any, name: str, demand: str) -> None:
    reading.complain(f"[{reading.scope}] Invalid value [{java_text(value)}]. [{name}] must be {demand}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Text(Setting):
    """A non-empty string."""

    def checked(self, value: Any, reading: Reading) -> Any:
        if value == "":
            reading.complain(f"[{reading.scope}] Invalid value empty string. [{self.name}] must be a non-empty string")
            return None
        return value


@dataclass(frozen=True, slots=True, kw_only=True)
class Secret(Text):
    """A credential: stored encrypted, never shown."""

    shown: bool = False
    mutable: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Url(Text):
    """A URI by Java's rules; the scheme is not looked at here."""

    def checked(self, value: Any, reading: Reading) -> Any:
        text = Text.checked(self, value, reading)
        if text is None:
            return None
        if problem := uri_problem(text):
            reading.complain(
                f"[{reading.scope}] Invalid url [{text}] received for field [{self.name}]. "
                f"Error: unable to parse url [{text}]. Reason: {problem.reason}"
            )
            return None
        return text


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice(Setting):
    """One of ``choices``, matched ignoring case and space around it, and kept in lower case."""

    choices: tuple[str, ...]
    upper: bool = False

    def checked(self, value: Any, reading: Reading) -> Any:
        if value == "":
            reading.complain(f"[{reading.scope}] Invalid value empty string. [{self.name}] must be a non-empty string")
            return None
        for choice in self.choices:
            if value.strip(SPACE).lower() == choice.lower():
                return choice.upper() if self.upper else choice
        allowed = ", ".join(sorted(self.choices))
        reading.complain(
            f"[{reading.scope}] Invalid value [{value}] received. [{self.name}] must be one of [{allowed}]"
        )
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class PositiveInt(Setting):
    """A whole number above 0, at most ``maximum``; no other JSON type is converted."""

    maximum: int | None = None

    java_name: ClassVar[str] = "Integer"
    list_type: ClassVar[str] = "int"
    expected: ClassVar[type | tuple[type, ...]] = int

    def checked(self, value: Any, reading: Reading) -> Any:
        if value <= 0:
            _invalid(reading, value, self.name, "a positive integer")
            return None
        if self.maximum is not None and value > self.maximum:
            article = reading.generation.bound_article
            _invalid(reading, float(value), self.name, f"{article}less than or equal to [{float(self.maximum)}]")
            return None
        return value


@dataclass(frozen=True, slots=True, kw_only=True)
class MaxInputTokens(PositiveInt):
    """The most tokens of one text: texts are cut at ``characters_per_token`` times as many characters (0: never)."""

    name: str = "max_input_tokens"
    mutable: bool = True
    characters_per_token: int = 0

    def most_characters(self, settings: Mapping[str, Any]) -> int | None:
        """How many characters of a text an endpoint with ``settings`` is sent, ``None`` for all."""
        return self.characters_per_token * (settings.get(self.name) or 0) or None


@dataclass(frozen=True, slots=True, kw_only=True)
class FixedMaxInputTokens(MaxInputTokens):
    """The same as a property of the service: stored and shown as ``tokens``, not accepted."""

    mutable: bool = False
    tokens: int

    def read(self, reading: Reading) -> Any:
        return self.tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class Int(Setting):
    """Any whole number."""

    java_name: ClassVar[str] = "Integer"
    list_type: ClassVar[str] = "int"
    expected: ClassVar[type | tuple[type, ...]] = int


@dataclass(frozen=True, slots=True, kw_only=True)
class StageEnd(Setting):
    """No setting: here everything complained about so far is reported."""

    name: str = ""

    def read(self, reading: Reading) -> None:
        reading.finish()


class _ReportedAtOnce(Setting):
    """What is wrong with the setting is reported alone, before anything else is read."""

    __slots__ = ()

    def read(self, reading: Reading) -> Any:
        complaints = len(reading.messages)
        value = super().read(reading)
        if len(reading.messages) > complaints:
            raise StatusError(reading.messages[-1])
        return value


@dataclass(frozen=True, slots=True, kw_only=True)
class LooseInt(_ReportedAtOnce, Int):
    """A whole number of any size; another type is reported at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UrlType(Text):
    """Looks at the type of an address alone, for services that look at its form later."""

    name: str = "url"

    def read(self, reading: Reading) -> None:
        value = reading.values.get(self.name)
        if not isinstance(value, str) or not value:
            Text.read(self, reading)


@dataclass(frozen=True, slots=True, kw_only=True)
class Number(Setting):
    """A number written with a fraction (``1.0``, not ``1``); with bounds, between them inclusive."""

    minimum: float | None = None
    maximum: float | None = None

    java_name: ClassVar[str] = "Double"
    list_type: ClassVar[str] = "float"
    expected: ClassVar[type | tuple[type, ...]] = float

    def checked(self, value: Any, reading: Reading) -> Any:
        article = reading.generation.bound_article
        if self.minimum is not None and value < self.minimum:
            _invalid(reading, float(value), self.name, f"{article}greater than or equal to [{float(self.minimum)}]")
            return None
        if self.maximum is not None and value > self.maximum:
            _invalid(reading, float(value), self.name, f"{article}less than or equal to [{float(self.maximum)}]")
            return None
        return value


@dataclass(frozen=True, slots=True, kw_only=True)
class LooseNumber(_ReportedAtOnce, Number):
    """A number written with a fraction; another type is reported at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Flag(Setting):
    """``true`` or ``false``."""

    java_name: ClassVar[str] = "Boolean"
    list_type: ClassVar[str] = "bool"
    expected: ClassVar[type | tuple[type, ...]] = bool


@dataclass(frozen=True, slots=True, kw_only=True)
class TextMap(Setting):
    """A map of strings; entries with a ``null`` value are dropped. ``allowed`` are the Java types of its values."""

    java_name: ClassVar[str] = "Map"
    list_type: ClassVar[str] = "map"
    expected: ClassVar[type | tuple[type, ...]] = dict
    allowed: ClassVar[tuple[str, ...]] = ("String",)

    def checked(self, value: Any, reading: Reading) -> Any:
        kept = {key: item for key, item in value.items() if item is not None}
        for key, item in kept.items():
            found = "Array" if isinstance(item, list) else java_type(item)
            if found not in self.allowed:
                shown = found if reading.generation.at_least("9.4") else java_text(item)
                reading.complain(
                    f"Map field [{self.name}] has an entry that is not valid, [{key} => {java_text(item)}]. "
                    f"Value type of [{shown}] is not one of [{', '.join(self.allowed)}]."
                )
                return None
        return kept


@dataclass(frozen=True, slots=True, kw_only=True)
class TextList(Setting):
    """A list of strings."""

    java_name: ClassVar[str] = "List"
    list_type: ClassVar[str] = "list"
    expected: ClassVar[type | tuple[type, ...]] = list

    def read(self, reading: Reading) -> Any:
        value = reading.values.pop(self.name, None)
        if value is None:
            return Setting.read(self, reading)
        field_name = f"{reading.scope}.{self.name}"
        if not isinstance(value, list):
            reading.complain(
                f"field [{field_name}] is not of the expected type. "
                f"The value [{java_text(value)}] cannot be converted to a [{self.java_name}]"
            )
            return None
        for index, item in enumerate(value):
            if not isinstance(item, str):
                reading.complain(
                    f"Expected all items in list for field [{field_name}] to be of type String "
                    f"but item [{java_text(item)}] at index [{index}] is of type [{java_type(item)}]"
                )
                return None
        return self.checked(value, reading)


@dataclass(frozen=True, slots=True, kw_only=True)
class RateLimit(Setting):
    """``rate_limit`` with its one key ``requests_per_minute``; absent, the service's default is stored and shown.

    ``owner`` is what the refusal of another key calls the service, where that is not its name.

    Raises:
        StatusError: while reading, for any other key (reported at once, before other messages).
    """

    name: str = "rate_limit"
    requests_per_minute: int
    owner: str | None = None
    mutable: bool = True
    listed: Listed | None = field(
        default_factory=lambda: Listed(label="Rate Limit", description="Minimize the number of rate limit errors.")
    )

    list_type: ClassVar[str] = "int"

    def is_known(self, generation: Generation) -> bool:
        return generation.shows_rate_limit and Setting.is_known(self, generation)

    def read(self, reading: Reading) -> Any:
        default = {"requests_per_minute": self.requests_per_minute}
        given = reading.values.pop(self.name, None)
        if given is None:
            return default
        if not isinstance(given, Mapping):
            raise StatusError(f"[{reading.scope}] [rate_limit] must be an object, but was [{java_text(given)}]")
        unknown = {key: value for key, value in given.items() if key != "requests_per_minute"}
        value = given.get("requests_per_minute")
        is_long = isinstance(value, int) and not isinstance(value, bool) and -(2**63) <= value < 2**63
        if value is not None and not is_long:
            reading.complain(
                "field [requests_per_minute] is not of one of the expected types. "
                f"The value [{java_text(value)}] cannot be converted to one of [Integer, Long]"
            )
            value = None
        elif value is not None and value <= 0:
            reading.complain(f"[rate_limit] Invalid value [{value}]. [requests_per_minute] must be a positive long")
            value = None
        if unknown:
            raise unknown_settings(unknown, self.owner or reading.service, reading.generation)
        return default if value is None else {"requests_per_minute": value}

    def stored_problem(self, values: Mapping[str, Any]) -> str | None:
        limit = values.get(self.name)
        per_minute = limit.get("requests_per_minute") if isinstance(limit, Mapping) else limit
        if limit is None or (limit is not per_minute and isinstance(per_minute, int) and per_minute > 0):
            return None
        return f"its {self.name} is none"


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused(Setting):
    """A flag that Elasticsearch keeps for itself and that must not be given."""

    java_name: ClassVar[str] = "Boolean"
    expected: ClassVar[type | tuple[type, ...]] = bool

    def read(self, reading: Reading) -> Any:
        if reading.take(self.name, self.expected, self.java_name) is not None:
            reading.complain(f"[{reading.scope}] does not allow the setting [{self.name}]")


SIMILARITY = Choice(name="similarity", choices=("cosine", "dot_product", "l2_norm"))
MAX_INPUT_TOKENS = MaxInputTokens()
API_KEY = Secret(
    name="api_key",
    required=True,
    listed=Listed(label="API Key", description="API Key for the provider you're connecting to."),
)
