"""Hugging Face Inference Endpoints: Text Embeddings Inference for vectors and ranking, OpenAI's chat for the rest.

Source: Text Embeddings Inference API, routes ``/embed``, ``/embed_sparse`` and ``/rerank``; Text Generation Inference,
"Messages API".
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from sidecar.core.errors import OtherError
from sidecar.core.results import RankedDocument, Ranking
from sidecar.core.tasks import TaskType
from sidecar.services.calls import (
    Call,
    ProviderAnswer,
    ProviderRequest,
    UnusableAnswerError,
    field_missing,
    is_number,
    is_whole,
    plain_bearer,
)
from sidecar.services.declaration import Dense, RemoteTask, Service
from sidecar.services.failures import Failures, Words, words_of_error_object, words_of_error_text
from sidecar.services.hugging_face_shapes import FAILURES, REQUEST_LIMIT, URL, parse_dense, request_inputs, sparse_task
from sidecar.services.openai_shapes import (
    CHAT_FAILURES,
    MAX_TOKENS_FORM,
    ChatStream,
    chat_body,
    parse_completion,
)
from sidecar.services.setting_kinds import SIMILARITY, Flag, MaxInputTokens, PositiveInt, Text
from sidecar.services.settings import Setting

_RERANK_TASK_SETTINGS: tuple[Setting, ...] = (Flag(name="return_documents"), PositiveInt(name="top_n"))


def words_of_chat(answer: ProviderAnswer) -> Words | None:
    """``error`` as text beside ``http_status_code``, or as an object that holds both."""
    words = words_of_error_text(answer)
    if words is not None:
        return words
    words = words_of_error_object(answer)
    return (
        None
        if words is None
        else replace(words, type=None, param=None, code=_status_code(json.loads(answer.body)["error"]))
    )


def _status_code(error: dict[str, Any]) -> str | None:
    code = error.get("http_status_code")
    return None if code is None else str(code)


def words_of_event(data: str) -> Words | None:
    """An error event: the same two forms."""
    return words_of_chat(ProviderAnswer(200, {}, data.encode()))


CHAT_FAMILY = replace(CHAT_FAILURES, words=words_of_chat, stream_words=words_of_event, chat_type="hugging_face_error")
# completions read OpenAI's error object only, so the text of a plain one is not quoted
COMPLETION_FAMILY = replace(CHAT_FAILURES, words=words_of_error_object)


def request_rerank(call: Call) -> ProviderRequest:
    body: dict[str, Any] = {"texts": call.texts, "query": call.query}
    if (return_documents := call.option("return_documents")) is not None:
        body["return_text"] = return_documents
    if (top_n := call.option("top_n")) is not None:
        body["top_n"] = top_n
    return ProviderRequest.json(call.settings["url"], body, plain_bearer(call))


def parse_ranking(answer: ProviderAnswer, call: Call) -> Ranking:
    """Sorted by score and cut to ``top_n``, because a Text Embeddings Inference server ignores that number."""
    body = answer.json()
    if not isinstance(body, list):
        raise UnusableAnswerError(
            OtherError(
                "illegal_argument_exception", "Failed to find required field [index] in Hugging Face rerank response"
            ),
            status=400,
        )
    documents = sorted((_ranked(item, call) for item in body), key=lambda d: -d.relevance_score)
    return Ranking(tuple(documents[: call.option("top_n")]))


def _ranked(item: Any, call: Call) -> RankedDocument:
    index = item.get("index") if isinstance(item, dict) else None
    if not is_whole(index):
        raise field_missing("index", "Hugging Face rerank")
    score = item.get("score", item.get("relevance_score"))
    if not is_number(score):
        raise field_missing("score", "Hugging Face rerank")
    document = item.get("document")
    text = item.get("text", document.get("text") if isinstance(document, dict) else None)
    return RankedDocument(index, score, text if isinstance(text, str) else None)


def request_chat(call: Call) -> ProviderRequest:
    body = chat_body(call, MAX_TOKENS_FORM, call.settings.get("model_id"))
    return ProviderRequest.json(call.settings["url"], body, plain_bearer(call))


def stream(call: Call) -> ChatStream:
    family = CHAT_FAMILY if call.task_type is TaskType.CHAT_COMPLETION else COMPLETION_FAMILY
    return ChatStream(call, family, "Hugging Face")


def _chat_task(since: str, failures: Failures) -> RemoteTask:
    return RemoteTask(
        sending="Failed to send Hugging Face {task} request from inference entity id [{id}]",
        settings=(Text(name="model_id"), URL, REQUEST_LIMIT),
        request=request_chat,
        parse=parse_completion,
        stream=stream,
        failures=failures,
        single_input="Hugging Face completions",
        since=since,
    )


SERVICE = Service(
    name="hugging_face",
    title="Hugging Face",
    tasks={
        TaskType.TEXT_EMBEDDING: RemoteTask(
            sending="Failed to send Hugging Face text_embedding request from inference entity id [{id}]",
            settings=(
                URL,
                SIMILARITY,
                PositiveInt(name="dimensions"),
                MaxInputTokens(characters_per_token=3),
                REQUEST_LIMIT,
            ),
            request=request_inputs,
            parse=parse_dense,
            failures=FAILURES,
            dense=Dense("cosine", compares_dimensions=False),
            since="8.12",
        ),
        TaskType.SPARSE_EMBEDDING: sparse_task("Hugging Face ELSER", "8.12"),
        TaskType.RERANK: RemoteTask(
            sending="Failed to send Hugging Face rerank request from inference entity id [{id}]",
            settings=(URL, REQUEST_LIMIT),
            task_settings=_RERANK_TASK_SETTINGS,
            request=request_rerank,
            parse=parse_ranking,
            failures=FAILURES,
            since="8.19",
        ),
        TaskType.COMPLETION: _chat_task("8.19", COMPLETION_FAMILY),
        TaskType.CHAT_COMPLETION: _chat_task("8.19", CHAT_FAMILY),
    },
)
