"""Templates with ``${name}`` placeholders, as the ``custom`` service's settings hold them.

A template is read once, from left to right: values are put in as they are and never looked at again, so that a text
which happens to contain ``${...}`` cannot pull in another value. ``${name:-text}`` falls back to ``text``.
Source: Elasticsearch API reference, "Create a custom inference endpoint"; Apache Commons Text, ``StringSubstitutor``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

_PLACEHOLDER = re.compile(r"\$\{([^}]*)\}")


class UnknownPlaceholderError(Exception):
    """A template names a value that does not exist; ``placeholder`` is how it stands there."""

    def __init__(self, placeholder: str) -> None:
        super().__init__(placeholder)
        self.placeholder = placeholder


def fill(template: str, values: Mapping[str, str]) -> str:
    """``template`` with every placeholder replaced by its value.

    Raises:
        UnknownPlaceholderError: a placeholder has neither a value nor a fallback.
    """

    def value(match: re.Match[str]) -> str:
        name, separator, fallback = match[1].partition(":-")
        if name in values:
            return values[name]
        if separator:
            return fallback
        raise UnknownPlaceholderError(match[0])

    # Behind the last brace nothing begins: a search there would go to the end from every "${".
    last = template.rfind("}") + 1
    return _PLACEHOLDER.sub(value, template[:last]) + template[last:]
