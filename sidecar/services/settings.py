"""Declared settings: what a service accepts in ``service_settings`` and ``task_settings``, and how it is read.

A declaration is a tuple of :class:`Setting` objects (``setting_kinds`` has them by type of value), read in the order in
which they stand: that is also the order of the messages in a validation error. Reading removes what it knows from the
given mapping; what is left is unknown.
Source: Elasticsearch API reference, "Create an inference endpoint"; wordings as real nodes answer.
"""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from sidecar.core.errors import StatusError, ValidationError
from sidecar.core.generations import Generation
from sidecar.core.javatext import java_text
from sidecar.core.tasks import TaskType

SERVICE_SETTINGS = "service_settings"
TASK_SETTINGS = "task_settings"
SECRET_SETTINGS = "secret_settings"  # noqa: S105 - the name of a group in messages


class Reading:
    """One group of settings being read: its scope in messages, the generation, and the messages so far."""

    def __init__(self, values: MutableMapping[str, Any], scope: str, generation: Generation, service: str) -> None:
        self.values = values
        self.scope = scope
        self.generation = generation
        self.service = service
        self.messages: list[str] = []

    def complain(self, message: str) -> None:
        self.messages.append(message)

    def take(self, name: str, expected: type | tuple[type, ...], java_name: str) -> Any:
        """Remove ``name`` and return its value, ``None`` when it is absent, ``null`` or of another type."""
        value = self.values.pop(name, None)
        is_bool_for_number = isinstance(value, bool) and expected is not bool
        is_too_large = java_name == "Integer" and isinstance(value, int) and not -(2**31) <= value < 2**31
        if value is None or (isinstance(value, expected) and not is_bool_for_number and not is_too_large):
            return value
        self.complain(
            f"field [{name}] is not of the expected type. "
            f"The value [{java_text(value)}] cannot be converted to a [{java_name}]"
        )
        return None

    def finish(self) -> None:
        """Raise everything complained about.

        Raises:
            ValidationError: when there was any message.
        """
        if self.messages:
            raise ValidationError(*self.messages)


def unknown_settings(values: Mapping[str, Any], service: str, generation: Generation) -> StatusError:
    return StatusError(
        f"{generation.configuration_noun} contains settings [{java_text(values)}] unknown to the [{service}] service"
    )


@dataclass(frozen=True, slots=True)
class Listed:
    """How ``GET _inference/_services`` describes a setting; the rest is derived from the declaration."""

    label: str
    description: str | None = None
    type: str | None = None
    required: bool | None = None
    sensitive: bool | None = None
    updatable: bool | None = None
    default: Any = None
    tasks: tuple[TaskType, ...] | None = None
    older_description: str | None = None
    since: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One setting. ``shown`` is whether GET returns it, ``mutable`` whether an update may change it.

    ``since`` and ``until`` bound the generations that know it (``until`` excluded); an unknown one stays in the
    mapping and is reported as unknown. ``missing`` replaces the text for a missing required setting.
    """

    name: str
    required: bool = False
    default: Any = None
    shown: bool = True
    mutable: bool = False
    missing: str | None = None
    aliases: tuple[str, ...] = ()
    since: str | None = None
    until: str | None = None
    listed: Listed | None = None

    java_name: ClassVar[str] = "String"
    list_type: ClassVar[str] = "str"
    expected: ClassVar[type | tuple[type, ...]] = str

    def is_known(self, generation: Generation) -> bool:
        newer = self.since is None or generation.at_least(self.since)
        return newer and (self.until is None or not generation.at_least(self.until))

    def read(self, reading: Reading) -> Any:
        """The value for storage, the default when absent, ``None`` with a message when it is wrong."""
        for alias in self.aliases:
            if alias in reading.values:
                alternative = reading.values.pop(alias)
                reading.values.setdefault(self.name, alternative)
        complaints = len(reading.messages)
        is_given = reading.values.get(self.name) is not None
        value = reading.take(self.name, self.expected, self.java_name)
        if value is not None:
            return self.checked(value, reading)
        if self.required and not is_given and len(reading.messages) == complaints:
            reading.complain(self.missing or f"[{reading.scope}] does not contain the required setting [{self.name}]")
        return self.default

    def checked(self, value: Any, reading: Reading) -> Any:
        return value

    def stored_problem(self, values: Mapping[str, Any]) -> str | None:
        """Why stored ``values`` cannot be those of this setting, ``None`` where they can.

        Its type, and whether it is there where every generation requires it, unless its kind reads in a way of its own.
        """
        value = values.get(self.name)
        if value is None:
            is_plain = type(self).read is Setting.read
            is_due = is_plain and self.required and self.since is None and self.until is None
            return f"[{self.name}] is missing" if is_due else None
        expected = (int, float) if self.expected is float else self.expected
        if isinstance(value, expected) and isinstance(value, bool) <= (self.expected is bool):
            return None
        return f"its {self.name} is a {type(value).__name__}"


def read_settings(settings: Sequence[Setting], reading: Reading) -> dict[str, Any]:
    """Read every declared setting of ``reading`` in order; absent optional ones are left out.

    Call ``reading.finish()`` afterwards, when checks across settings have been made.
    """
    values: dict[str, Any] = {}
    for setting in settings:
        if not setting.is_known(reading.generation):
            continue
        value = setting.read(reading)
        if value is not None:
            values[setting.name] = value
    return values
