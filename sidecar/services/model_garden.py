"""Models of other makers on Vertex AI (Model Garden): each speaks its maker's form behind Google's credentials.

Source: Vertex AI documentation, "Use partner models", "Anthropic Claude models: rawPredict and streamRawPredict",
"Self-deployed models: chat completions".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sidecar.core.results import Completion
from sidecar.services.anthropic_shapes import FAILURES as ANTHROPIC_FAILURES
from sidecar.services.anthropic_shapes import MessageStream, chat_fields, max_tokens, parse_message
from sidecar.services.anthropic_shapes import check_chat as check_anthropic_chat
from sidecar.services.calls import Call, ProviderAnswer, ProviderRequest, StreamReader, no_reasoning
from sidecar.services.failures import Failures
from sidecar.services.openai_shapes import (
    CHAT_FAILURES,
    MAX_TOKENS_FORM,
    NO_USAGE_FORM,
    ChatForm,
    ChatStream,
    chat_body,
    parse_completion,
    quoting,
)

ANTHROPIC_VERSION = "vertex-2023-10-16"
DEFAULT_MAX_TOKENS = 1024


@dataclass(frozen=True, slots=True)
class Maker:
    """One maker's dialect: OpenAI's in one of its forms, or Anthropic's (no ``form``)."""

    form: ChatForm | None
    failures: Failures


MAKERS: Mapping[str, Maker] = {
    "ANTHROPIC": Maker(None, ANTHROPIC_FAILURES),
    "META": Maker(NO_USAGE_FORM, quoting(CHAT_FAILURES, "llama_error")),
    "MISTRAL": Maker(NO_USAGE_FORM, quoting(CHAT_FAILURES, "mistral_error")),
    "HUGGING_FACE": Maker(MAX_TOKENS_FORM, quoting(CHAT_FAILURES, "hugging_face_error")),
    "AI21": Maker(MAX_TOKENS_FORM, quoting(CHAT_FAILURES, "ai21_error")),
}


def maker(call: Call) -> Maker | None:
    """The maker of the endpoint's model, ``None`` for Google's own."""
    return MAKERS.get(call.settings.get("provider", ""))


def url(call: Call) -> str:
    """The address for the call's mode; where there is only one it serves both."""
    first, second = ("streaming_url", "url") if call.stream else ("url", "streaming_url")
    return str(call.settings.get(first) or call.settings[second])


def request(call: Call, maker: Maker, headers: Mapping[str, str]) -> ProviderRequest:
    """The request in the maker's form."""
    body: dict[str, Any]
    if maker.form is not None:
        body = chat_body(call, maker.form, call.settings.get("model_id"))
    else:
        # the address names the model
        body = {"anthropic_version": ANTHROPIC_VERSION, **chat_fields(call)}
        body |= {"stream": call.stream, "max_tokens": max_tokens(call, DEFAULT_MAX_TOKENS)}
    return ProviderRequest.json(url(call), body, headers)


def check_chat(call: Call, maker: Maker) -> None:
    """Refuse a chat that the maker's form cannot carry.

    Raises:
        SidecarError: it says what.
    """
    if call.chat and call.chat.reasoning:
        raise no_reasoning("googlevertexai")
    if maker.form is None:
        check_anthropic_chat(call)


def parse(answer: ProviderAnswer, call: Call, maker: Maker) -> Completion:
    return parse_completion(answer, call) if maker.form else parse_message(answer, call)


def stream(call: Call, maker: Maker) -> StreamReader:
    return ChatStream(call, maker.failures) if maker.form else MessageStream(call, maker.failures)
