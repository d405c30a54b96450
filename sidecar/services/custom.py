"""Any provider with an HTTP API that takes and gives JSON: the endpoint's settings describe the exchange.

Source: Elasticsearch API reference, "Create a custom inference endpoint".
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import urlencode

from sidecar.core.errors import StatusError, ValidationError
from sidecar.core.generations import Generation
from sidecar.core.java_uri import uri_problem
from sidecar.core.tasks import InputType, TaskType
from sidecar.services.calls import JSON_TYPE, Call, ProviderRequest
from sidecar.services.custom_answers import parse_completion, parse_dense, parse_ranking, parse_sparse
from sidecar.services.custom_settings import (
    EMBEDDING_TYPE,
    Headers,
    InputTypes,
    Parameters,
    QueryParameters,
    Response,
    ResponseShape,
    Secrets,
    path,
)
from sidecar.services.declaration import PUBLIC_INPUT_TYPES, Dense, RemoteTask, Service
from sidecar.services.failures import Failures, words_of_body
from sidecar.services.setting_kinds import (
    SIMILARITY,
    LooseInt,
    PositiveInt,
    RateLimit,
    StageEnd,
    Text,
)
from sidecar.services.settings import Setting
from sidecar.services.template import UnknownPlaceholderError, fill

FAILURES = Failures(words=words_of_body, retried=frozenset({429}), retries_unusable=False)
BATCH_SIZE = 10

_HEAD: tuple[Setting, ...] = (Text(name="url", required=True), QueryParameters(name="query_parameters"), StageEnd())
_BODY: tuple[Setting, ...] = (
    Headers(name="headers"),
    Text(name="request", required=True),
    ResponseShape(),
    RateLimit(requests_per_minute=10_000),
    InputTypes(),
    StageEnd(),
)
_TAIL: tuple[Setting, ...] = (StageEnd(), PositiveInt(name="batch_size", default=BATCH_SIZE))
_DENSE: tuple[Setting, ...] = (
    SIMILARITY,
    LooseInt(name="dimensions"),
    LooseInt(name="max_input_tokens", mutable=True),
)


def settings(*paths: Setting, dense: tuple[Setting, ...] = ()) -> tuple[Setting, ...]:
    return (*dense, *_HEAD, *_BODY, Response(paths=paths), *_TAIL)


# --- values of the templates ---------------------------------------------------------------------------------


def secret_values(call: Call) -> Mapping[str, str]:
    return call.secrets.get("secret_parameters") or {}


def parameters(call: Call) -> Mapping[str, Any]:
    return call.task_settings.get("parameters") or {}


def text_values(call: Call) -> dict[str, str]:
    """What addresses and headers may name: secrets and the parameters that are strings."""
    return {**secret_values(call), **{name: v for name, v in parameters(call).items() if isinstance(v, str)}}


def json_values(call: Call) -> dict[str, str]:
    """What the body may name, as JSON: secrets, parameters, then the values that each task brings itself."""
    values: dict[str, Any] = {**secret_values(call), **parameters(call)}
    if call.task_type is TaskType.COMPLETION:
        values["input"] = next(iter(call.texts), "")
    else:
        values["input"] = call.texts
    if call.task_type.is_embedding:
        values["input_type"] = input_type_name(call)
    if call.task_type is TaskType.RERANK:
        given = {"query": call.query, "top_n": call.top_n, "return_documents": call.return_documents}
        values |= {name: value for name, value in given.items() if value is not None}
    return {name: json.dumps(value, ensure_ascii=False) for name, value in values.items()}


def input_type_name(call: Call) -> str:
    """The provider's name for the call's input type; the internal types count as the public ones they stand for."""
    names: Mapping[str, Any] = call.settings["input_type"]
    translation: Mapping[str, str] = names["translation"]
    default: str = names["default"]
    return default if call.input_type is None else translation.get(call.input_type.public.value, default)


# --- request -------------------------------------------------------------------------------------------------


def filled(template: str, values: Mapping[str, str], place: str) -> str:
    """The template with its values.

    Raises:
        StatusError: a placeholder has no value.
    """
    try:
        return fill(template, values)
    except UnknownPlaceholderError as error:
        raise StatusError(
            f"Found placeholder [{error.placeholder}] in field [{place}] after replacement call, "
            "please check that all templates have a corresponding field definition."
        ) from None


def address(call: Call) -> str:
    """The address with its query; parameters are encoded like those of a form."""
    texts = text_values(call)
    template = call.settings["url"]
    url = filled(template, texts, "url")
    if problem := uri_problem(url):
        # the template is quoted, not the address: it may hold a secret
        raise StatusError(f"Failed to build URI, error: {problem}: {template}")
    pairs = [
        (name, filled(value, texts, f"query parameters: [{name}]"))
        for name, value in call.settings.get("query_parameters") or ()
    ]
    if not pairs:
        return url
    query = urlencode(pairs, safe="*").replace("~", "%7E")
    return f"{url}{'&' if '?' in url else '?'}{query}"


def header_values(call: Call) -> dict[str, str]:
    """The endpoint's headers, with the content type of JSON unless they have another."""
    texts = text_values(call)
    headers: dict[str, str] = {}
    for name, template in (call.settings.get("headers") or {}).items():
        value = filled(template, texts, f"header.{name}")
        if any(character in "\r\n\0" for character in name + value):
            raise StatusError(f"Header [{name}] must not contain line breaks")
        headers[name] = value
    if not any(name.lower() == "content-type" for name in headers):
        headers["Content-Type"] = JSON_TYPE
    return headers


def request(call: Call) -> ProviderRequest:
    url, headers = address(call), header_values(call)
    body = filled(call.settings["request"], json_values(call), "request")
    # the address may hold secrets, so messages show its template
    return ProviderRequest(url, body.encode("utf-8", "surrogatepass"), headers, shown_url=call.settings["url"])


# --- checks --------------------------------------------------------------------------------------------------


def check_call(call: Call) -> None:
    """Refuse parameters that would take the place of a secret.

    Raises:
        ValidationError: a parameter has the name of a secret.
    """
    if shared := sorted(parameters(call).keys() & secret_values(call).keys()):
        raise ValidationError(
            f"[task_settings] [parameters] must not contain the names of secret parameters [{', '.join(shared)}]"
        )


def probe(call: Call) -> Call:
    """The validation call, after a look at the templates; a ranking asks for one result with its text.

    Raises:
        ValidationError: a placeholder has no value, or a parameter has the name of a secret.
    """
    check_call(call)
    try:
        request(call)
    except StatusError as error:
        raise ValidationError(f"Failed to validate model configuration: {error.reason}") from error
    return replace(call, top_n=1, return_documents=True) if call.task_type is TaskType.RERANK else call


def merge(stored: Mapping[str, Any], given: Mapping[str, Any]) -> Mapping[str, Any]:
    """Parameters are merged name by name."""
    merged = {**(stored.get("parameters") or {}), **(given.get("parameters") or {})}
    return {"parameters": merged} if merged else {}


def default_chunking(generation: Generation) -> dict[str, Any] | None:
    """Words in older generations, the usual sentences since 9.4."""
    return None if generation.at_least("9.4") else {"strategy": "word", "max_chunk_size": 250, "overlap": 100}


def _task(
    parse: Callable[..., Any],
    declared: tuple[Setting, ...],
    dense: Dense | None = None,
    input_types: frozenset[InputType] | None = None,
    chunking_since: str = "8.19",
) -> RemoteTask:
    return RemoteTask(
        sending="Failed to send Custom request",
        settings=declared,
        secrets=(Secrets(),),
        task_settings=(Parameters(),),
        request=request,
        parse=parse,
        failures=FAILURES,
        check_call=check_call,
        probe=probe,
        merge=merge,
        dense=dense,
        input_types=input_types,
        label="Custom",
        batch_size_of=lambda settings: settings["batch_size"],
        chunking_since=chunking_since,
        default_chunking=default_chunking,
        since="8.19",
    )


SERVICE = Service(
    name="custom",
    title="Custom",
    listed=False,
    tasks={
        TaskType.TEXT_EMBEDDING: _task(
            parse_dense,
            settings(path("text_embeddings"), EMBEDDING_TYPE, dense=_DENSE),
            Dense("dot_product", compares_dimensions=False),
            PUBLIC_INPUT_TYPES,
        ),
        TaskType.SPARSE_EMBEDDING: _task(
            parse_sparse,
            settings(path("token_path"), path("weight_path")),
            None,
            PUBLIC_INPUT_TYPES,
            chunking_since="9.4",
        ),
        TaskType.RERANK: replace(
            _task(
                parse_ranking,
                settings(
                    path("relevance_score"),
                    path("reranked_index", required=False),
                    path("document_text", required=False),
                ),
            ),
            creation="custom service inference endpoint creation",
        ),
        TaskType.COMPLETION: _task(parse_completion, settings(path("completion_result"))),
    },
)
