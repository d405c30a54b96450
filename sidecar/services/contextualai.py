"""Contextual AI: reranking that follows an instruction.

Source: Contextual AI API reference, "Rerank".
"""

from __future__ import annotations

from typing import Any

from sidecar.core.java_uri import uri_refusal
from sidecar.core.results import Ranking
from sidecar.core.tasks import TaskType
from sidecar.services.calls import Call, ProviderAnswer, ProviderRequest, plain_bearer, required
from sidecar.services.cohere_shapes import parse_ranking
from sidecar.services.declaration import RemoteTask, Service
from sidecar.services.failures import Failures, Words, words_of_body, words_of_detail, words_of_message
from sidecar.services.setting_kinds import Flag, PositiveInt, RateLimit, Text
from sidecar.services.settings import Listed, Reading, Setting

URL = "https://api.contextual.ai/v1/rerank"
# the provider wants one in every request
INSTRUCTION = "Rerank the given documents based on their relevance to the query."

_SETTINGS: tuple[Setting, ...] = (
    Text(name="url", default=URL),
    # listed as required, but not asked for: the provider refuses requests without a model itself
    Text(name="model_id", listed=Listed("Model ID", "The model ID to use for Contextual AI requests.", required=True)),
    RateLimit(requests_per_minute=1000),
)
_TASK_SETTINGS: tuple[Setting, ...] = (
    Flag(name="return_documents"),
    PositiveInt(name="top_n", aliases=("top_k",)),
    Text(name="instruction"),
)


def words(answer: ProviderAnswer) -> Words | None:
    """The provider's ``message``, else its ``detail``, else the whole body."""
    return words_of_message(answer) or words_of_detail(answer) or words_of_body(answer)


FAILURES = Failures(words=words, retried=frozenset({429, 500}))


def check_url(values: dict[str, Any], reading: Reading) -> None:
    """The address is looked at last, and reported alone.

    Raises:
        OtherError: it is no URI.
    """
    if not reading.messages and (refusal := uri_refusal(values["url"])):
        raise refusal


def request(call: Call) -> ProviderRequest:
    body: dict[str, Any] = {"query": call.query}
    if (model := call.settings.get("model_id")) is not None:
        body["model"] = model
    if (top_n := call.option("top_n")) is not None:
        body["top_n"] = top_n
    body["instruction"] = call.task_settings.get("instruction", INSTRUCTION)
    body["documents"] = call.texts
    return ProviderRequest.json(call.settings["url"], body, plain_bearer(call))


def parse(answer: ProviderAnswer, call: Call) -> Ranking:
    """At most ``top_n`` results."""
    ranking = parse_ranking(answer, required)
    return Ranking(ranking.documents[: call.option("top_n")])


SERVICE = Service(
    name="contextualai",
    title="Contextual AI",
    tasks={
        TaskType.RERANK: RemoteTask(
            sending="Failed to send ContextualAI rerank request",
            settings=_SETTINGS,
            check=check_url,
            task_settings=_TASK_SETTINGS,
            request=request,
            parse=parse,
            failures=FAILURES,
            since="9.4",
        ),
    },
)
