"""Alibaba Cloud AI Search: dense and sparse embeddings, reranking and completion.

Source: Alibaba Cloud OpenSearch documentation, "AI Search Open Platform API".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar

from sidecar.core.errors import StatusError, ValidationError
from sidecar.core.results import (
    Completion,
    DenseEmbeddings,
    RankedDocument,
    Ranking,
    SparseEmbedding,
    SparseEmbeddings,
)
from sidecar.core.tasks import InputType, TaskType
from sidecar.services.calls import (
    Call,
    ProviderAnswer,
    ProviderRequest,
    UnusableAnswerError,
    bearer,
    field_missing,
    is_number,
    is_whole,
    unexpected_token,
)
from sidecar.services.declaration import Dense, RemoteTask, Service
from sidecar.services.failures import Failures, words_of_message
from sidecar.services.openai_shapes import dense_vector
from sidecar.services.setting_kinds import (
    MAX_INPUT_TOKENS,
    SIMILARITY,
    Choice,
    Flag,
    LooseInt,
    PositiveInt,
    RateLimit,
    StageEnd,
    Text,
)
from sidecar.services.settings import Listed, Reading, Setting

# a hard limit of both embedding routes
MAX_TEXTS = 32

_INPUT_TYPES = {InputType.INGEST: "document", InputType.SEARCH: "query"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Scheme(Text):
    """``https`` or ``http``."""

    def checked(self, value: Any, reading: Reading) -> Any:
        text = Text.checked(self, value, reading)
        if text is None or text in ("https", "http"):
            return text
        reading.complain(f"Invalid value for [{self.name}]. Must be one of [https, http]")
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class AnyMap(Setting):
    """A map of anything."""

    java_name: ClassVar[str] = "Map"
    expected: ClassVar[type | tuple[type, ...]] = dict


_ADDRESS: tuple[Setting, ...] = (
    Text(
        name="service_id",
        required=True,
        listed=Listed("Project ID", "The name of the model service to use for the {infer} task."),
    ),
    Text(
        name="host",
        required=True,
        listed=Listed(
            "Host",
            "The name of the host address used for the {infer} task. You can find the host address at "
            "https://opensearch.console.aliyun.com/cn-shanghai/rag/api-key[ the API keys section] "
            "of the documentation.",
        ),
    ),
    Text(
        name="workspace",
        required=True,
        listed=Listed("Workspace", "The name of the workspace used for the {infer} task."),
    ),
    Scheme(
        name="http_schema",
        listed=Listed(
            "HTTP Schema",
            "Specifies the HTTP protocol schema used when connecting to the AlibabaCloud AI Search service. "
            "Valid values are 'http' or 'https'. Defaults to 'https' if not specified.",
            older_description="",
        ),
    ),
    RateLimit(requests_per_minute=1000),
)
# older releases take any number, and look at the address first
_SIZES: tuple[Setting, ...] = (
    LooseInt(name="dimensions", until="9.4"),
    PositiveInt(name="dimensions", since="9.4"),
    LooseInt(name="max_input_tokens", until="9.4", mutable=True),
    replace(MAX_INPUT_TOKENS, since="9.4"),
)
_API_KEY = Text(
    name="api_key",
    required=True,
    shown=False,
    mutable=True,
    listed=Listed("API Key", "A valid API key for the AlibabaCloud AI Search API."),
)
_INPUT_TYPE = Choice(name="input_type", choices=("ingest", "search", "internal_ingest", "internal_search"))

FAILURES = Failures(words=words_of_message, retried=frozenset({429}))


def request(call: Call, route: str, body: Mapping[str, Any]) -> ProviderRequest:
    values = call.settings
    address = f"{values.get('http_schema', 'https')}://{values['host']}/v3/openapi/workspaces/{values['workspace']}"
    return ProviderRequest.json(f"{address}/{route}/{values['service_id']}", body, bearer(call))


def result_field(
    answer: ProviderAnswer, name: str, missing: partial[UnusableAnswerError], *, is_final: bool = True
) -> Any:
    """``result.<name>`` of an answer; one without ``result`` is asked for again unless that ``is_final``.

    Raises:
        UnusableAnswerError: it is not there.
    """
    body = answer.json()
    if not isinstance(body, dict):
        raise unexpected_token("START_OBJECT", body)
    if "result" not in body:
        error = missing("result")
        error.is_final = is_final
        raise error
    result = body["result"]
    if not isinstance(result, dict) or name not in result:
        raise missing(name)
    return result[name]


def result_list(
    answer: ProviderAnswer, name: str, missing: partial[UnusableAnswerError], *, is_final: bool = True
) -> list[dict[str, Any]]:
    """``result.<name>`` of an answer as a list of objects.

    Raises:
        UnusableAnswerError: it is not there or something else.
    """
    items = result_field(answer, name, missing, is_final=is_final)
    if not isinstance(items, list):
        raise unexpected_token("START_ARRAY", items)
    for item in items:
        if not isinstance(item, dict):
            raise unexpected_token("START_OBJECT", item)
    return items


# --- embeddings ----------------------------------------------------------------------------------------------


def embedding_body(call: Call) -> dict[str, Any]:
    body: dict[str, Any] = {"input": call.texts}
    if call.input_type and (name := _INPUT_TYPES.get(call.input_type.public)):
        body["input_type"] = name
    return body


def request_dense(call: Call) -> ProviderRequest:
    return request(call, "text-embedding", embedding_body(call))


def parse_dense(answer: ProviderAnswer, call: Call) -> DenseEmbeddings:
    """The vectors as they stand; Elasticsearch does not look at their ``index`` either."""
    missing = partial(field_missing, where="AlibabaCloud Search embeddings")
    vectors = []
    for item in result_list(answer, "embeddings", missing):
        if "embedding" not in item:
            raise missing("embedding")
        vectors.append(dense_vector(item["embedding"]))
    return DenseEmbeddings(tuple(vectors))


def complete_dense(settings: dict[str, Any], task_settings: dict[str, Any]) -> None:
    """The validation call sets the similarity, whatever was given, as Elasticsearch does."""
    settings["similarity"] = "dot_product"


def request_sparse(call: Call) -> ProviderRequest:
    body = embedding_body(call)
    if (return_token := call.task_settings.get("return_token")) is not None:
        body["return_token"] = return_token
    return request(call, "text-sparse-embedding", body)


def parse_sparse(answer: ProviderAnswer, call: Call) -> SparseEmbeddings:
    missing = partial(field_missing, where="AlibabaCloud Search sparse embeddings")
    found = []
    for item in result_list(answer, "sparse_embeddings", missing):
        entries = item.get("embedding")
        if not isinstance(entries, list):
            raise unexpected_token("START_ARRAY", entries)
        found.append(SparseEmbedding(token_weights(entries, missing)))
    return SparseEmbeddings(tuple(found))


def token_weights(entries: list[Any], missing: partial[UnusableAnswerError]) -> dict[str, float]:
    """Tokens by their text, or by their number where the answer has none.

    Empty tokens, tokens with a dot (which no feature name may hold) and weights that are not positive are left out.
    """
    weights: dict[str, float] = {}
    for entry in entries:
        if not isinstance(entry, dict):
            raise unexpected_token("START_OBJECT", entry)
        weight = entry.get("weight")
        if not is_number(weight):
            raise missing("weight")
        token = entry["token"] if "token" in entry else entry.get("token_id")
        name = "" if token is None else str(token)
        if name and "." not in name and weight > 0:
            weights[name] = weight
    return weights


# --- rerank --------------------------------------------------------------------------------------------------


def check_rerank(call: Call) -> None:
    """The provider knows neither option.

    Raises:
        ValidationError: one was given.
    """
    given = {"return_documents": call.return_documents, "top_n": call.top_n}
    messages = [
        f"Invalid {name} [{str(value).lower()}]. The {name} option is not supported by this service"
        for name, value in given.items()
        if value is not None
    ]
    if messages:
        raise ValidationError(*messages)


def request_rerank(call: Call) -> ProviderRequest:
    return request(call, "ranker", {"query": call.query, "docs": call.texts})


def parse_ranking(answer: ProviderAnswer, call: Call) -> Ranking:
    missing = partial(field_missing, where="AlibabaCloud Search rerank")
    documents = []
    for item in result_list(answer, "scores", missing, is_final=False):
        index, score = item.get("index"), item.get("score")
        if not is_whole(index):
            raise missing("index")
        if not is_number(score):
            raise missing("score")
        documents.append(RankedDocument(index, score))
    return Ranking(tuple(documents))


# --- completion ----------------------------------------------------------------------------------------------


def check_completion(call: Call) -> None:
    """Questions and answers by turns, a question last.

    Raises:
        StatusError: there is an even number of inputs.
    """
    if len(call.inputs) % 2 == 0:
        raise StatusError(
            "Alibaba Completion's inputs must be an odd number. The last input is the current query, "
            "all preceding inputs are the completion history as pairs of user input and the assistant's response."
        )


def request_completion(call: Call) -> ProviderRequest:
    roles = ("user", "assistant")
    body: dict[str, Any] = {"messages": [{"role": roles[n % 2], "content": text} for n, text in enumerate(call.texts)]}
    if parameters := call.task_settings.get("parameters"):
        body["parameters"] = parameters
    return request(call, "text-generation", body)


def parse_completion(answer: ProviderAnswer, call: Call) -> Completion:
    text = result_field(answer, "text", partial(field_missing, where="AlibabaCloud Search completion"))
    if not isinstance(text, str):
        raise unexpected_token("VALUE_STRING", text)
    return Completion((text,))


SERVICE = Service(
    name="alibabacloud-ai-search",
    title="AlibabaCloud AI Search",
    tasks={
        TaskType.TEXT_EMBEDDING: RemoteTask(
            sending="Failed to send AlibabaCloud Search text embeddings request",
            settings=(*_ADDRESS, StageEnd(until="9.4"), SIMILARITY, *_SIZES),
            secrets=(_API_KEY,),
            task_settings=(_INPUT_TYPE,),
            request=request_dense,
            parse=parse_dense,
            failures=FAILURES,
            dense=Dense("dot_product", compares_dimensions=False),
            input_types=frozenset(_INPUT_TYPES),
            label="AlibabaCloud AI Search",
            max_inputs=MAX_TEXTS,
            complete=complete_dense,
            since="8.16",
        ),
        TaskType.SPARSE_EMBEDDING: RemoteTask(
            sending="Failed to send AlibabaCloud Search sparse embeddings request",
            settings=_ADDRESS,
            secrets=(_API_KEY,),
            task_settings=(_INPUT_TYPE, Flag(name="return_token")),
            request=request_sparse,
            parse=parse_sparse,
            failures=FAILURES,
            input_types=frozenset(_INPUT_TYPES),
            label="AlibabaCloud AI Search",
            max_inputs=MAX_TEXTS,
            since="8.16",
        ),
        TaskType.RERANK: RemoteTask(
            sending="Failed to send AlibabaCloud Search rerank request",
            settings=_ADDRESS,
            secrets=(_API_KEY,),
            check_call=check_rerank,
            request=request_rerank,
            parse=parse_ranking,
            failures=FAILURES,
            since="8.16",
        ),
        TaskType.COMPLETION: RemoteTask(
            sending="Failed to send AlibabaCloud Search completion request",
            settings=_ADDRESS,
            secrets=(_API_KEY,),
            task_settings=(AnyMap(name="parameters"),),
            check_call=check_completion,
            request=request_completion,
            parse=parse_completion,
            failures=FAILURES,
            since="8.16",
        ),
    },
)
