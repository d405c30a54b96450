"""Inputs of the ``embedding`` task type: contents of one or more items, each a text or an image."""

from __future__ import annotations

from sidecar.core.errors import StatusError
from sidecar.core.requests import Content, ContentGroup
from sidecar.services.calls import Call


def single_contents(call: Call, service: str) -> list[Content]:
    """Every input as its one text or image.

    Raises:
        StatusError: an input has several items; ``service`` cannot make one vector of them.
    """
    for index, item in enumerate(call.inputs):
        if isinstance(item, ContentGroup) and len(item.items) > 1:
            raise StatusError(
                f"Field [content] must contain a single item for [{service}] service. "
                f"[content] object with multiple items found at $.input.content[{index}]"
            )
    return [Content("text", item) if isinstance(item, str) else item.items[0] for item in call.inputs]


def require_texts(contents: list[Content]) -> None:
    """Refuse images on behalf of a model that reads texts only.

    Raises:
        StatusError: there is one.
    """
    if any(item.type != "text" for item in contents):
        raise StatusError("Non-text input provided for text-only model")
