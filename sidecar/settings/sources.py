"""Reading settings: where values come from, what a wrong one is told, which names nobody knows."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dotenv import dotenv_values
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from sidecar.core.user_error import UserError
from sidecar.settings.documentation import is_secret
from sidecar.settings.files import read_file
from sidecar.settings.table import PREFIX, Settings

# Kubernetes gives every container of a namespace variables named after its services; a service called "sidecar"
# brings SIDECAR_PORT=tcp://10.0.0.1:9800 and its kin.
_SERVICE_LINK = re.compile(r"SIDECAR_(?:\w+_)?(?:SERVICE_HOST|SERVICE_PORT\w*|PORT(?:_\d+_(?:TCP|UDP)\w*)?)")


def load_settings(overrides: Mapping[str, Any] | None = None) -> Settings:
    """Effective settings; ``overrides`` (by field name, ``None`` means not given) come before all other sources.

    Raises :class:`UserError` with one sentence per wrong setting.
    """
    given = {name: value for name, value in (overrides or {}).items() if value is not None}
    try:
        return Settings(**given)
    except ValidationError as error:
        raise UserError("\n".join(_sentence(detail) for detail in error.errors())) from None


def unknown_settings(config_file: Path | None = None, environ: Mapping[str, str] | None = None) -> list[str]:
    """One sentence for each name in environment, ``.env`` or settings file that begins as a setting and is none."""
    environ = os.environ if environ is None else environ
    dotenv = dotenv_values(".env") if Path(".env").is_file() else {}
    sources = [("the environment", list(environ)), (".env", list(dotenv))]
    if config_file is not None:
        in_file = read_file(config_file.expanduser())
        sources.append((str(config_file), [PREFIX + name.upper() for name in in_file]))
    known = [PREFIX + name.upper() for name in Settings.model_fields]
    sentences = []
    for place, names in sources:
        for name in names:
            upper = name.upper()
            linked = place == "the environment" and _SERVICE_LINK.fullmatch(upper)
            if not upper.startswith(PREFIX) or upper in known or linked:
                continue
            near = difflib.get_close_matches(upper, known, n=1, cutoff=0.75)
            hint = f"; did you mean {near[0]}?" if near else "."
            sentences.append(f"{name} in {place} is not a setting{hint}")
    return sentences


def _sentence(detail: ErrorDetails) -> str:
    message = detail["msg"].removeprefix("Value error, ")
    if not detail["loc"]:
        return f"{message}."
    name = str(detail["loc"][0])
    field = Settings.model_fields[name]
    variable = PREFIX + name.upper()
    shown = str(detail["input"])
    if shown.startswith("tcp://"):
        return (
            f"{variable} is {shown}, which Kubernetes sets for a service of that name:"
            " add enableServiceLinks: false to the pod, or rename the service."
        )
    is_ours = detail["type"] == "value_error"
    message = f"must be {message}" if is_ours else message.replace("Input should be", "must be")
    now = "" if is_secret(field) or "@" in shown else f" (now {shown})"
    return f"{variable} {message}{now}. It means: {field.description}"
