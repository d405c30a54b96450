"""Google Vertex AI: embeddings, the ranking API, Gemini, and models of other makers from its Model Garden.

Source: Vertex AI API reference, "Text embeddings API" and "Generate content with the Gemini API"; Vertex AI Agent
Builder, "Rank and rerank documents".
"""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from sidecar.core.results import Completion, DenseEmbeddings, RankedDocument, Ranking
from sidecar.core.tasks import InputType, TaskType
from sidecar.services import gemini_chat, model_garden
from sidecar.services.calls import Call, ProviderAnswer, ProviderRequest, StreamReader, field_missing, is_number
from sidecar.services.declaration import PUBLIC_INPUT_TYPES, Dense, RemoteTask, Service
from sidecar.services.failures import Failures
from sidecar.services.google_shapes import TASK_TYPES, google_failures
from sidecar.services.google_token import request_token
from sidecar.services.openai_shapes import dense_vector
from sidecar.services.setting_kinds import (
    SIMILARITY,
    Choice,
    Flag,
    Int,
    MaxInputTokens,
    PositiveInt,
    RateLimit,
    Refused,
    Secret,
    Text,
    TextMap,
    Url,
)
from sidecar.services.settings import TASK_SETTINGS, Listed, Reading, Setting

TITLE = "Google Vertex AI"
RANKING_URL = "https://discoveryengine.googleapis.com/v1/projects/{}/locations/global/rankingConfigs"
# the provider's own bound on one request
MAX_INPUTS = 250
GOOGLE = "GOOGLE"
# where calls go when an endpoint has no location; its host has no region
GLOBAL = "global"

FAILURES = google_failures(TITLE, "google_vertex_ai_error")

_KEY_FILE = Secret(
    name="service_account_json",
    required=True,
    listed=Listed("Credentials JSON", "API Key for the provider you're connecting to."),
)
_PROJECT_HELP = Listed(
    "GCP Project",
    "The GCP Project ID which has Vertex AI API(s) enabled. For more information on the URL, refer to the "
    "{geminiVertexAIDocs}.",
)
_LOCATION_HELP = Listed(
    "GCP Region",
    "Please provide the GCP region where the Vertex AI API(s) is enabled. For more information, refer to the "
    "{geminiVertexAIDocs}.",
)
_MODEL_HELP = Listed("Model ID", "ID of the LLM you're using.", required=True)
_PROJECT = Text(name="project_id", required=True, listed=_PROJECT_HELP)
_MODEL = Text(name="model_id", required=True, listed=_MODEL_HELP)

_EMBEDDING_SETTINGS: tuple[Setting, ...] = (
    Text(name="location", required=True, until="9.5", listed=_LOCATION_HELP),
    Text(name="location", since="9.5"),
    _PROJECT,
    _MODEL,
    MaxInputTokens(characters_per_token=3),
    SIMILARITY,
    PositiveInt(name="dimensions"),
    PositiveInt(name="max_batch_size", maximum=MAX_INPUTS, since="9.4"),
    Refused(name="dimensions_set_by_user"),
    RateLimit(requests_per_minute=30000),
)
_RERANK_SETTINGS: tuple[Setting, ...] = (
    _PROJECT,
    Text(name="model_id", listed=_MODEL_HELP),
    RateLimit(requests_per_minute=300),
)
# from 9.4 on the three depend on the provider and are checked together
_CHAT_SETTINGS: tuple[Setting, ...] = (
    Text(name="project_id", required=True, until="9.4", listed=_PROJECT_HELP),
    Text(name="location", required=True, until="9.4", listed=_LOCATION_HELP),
    Text(name="model_id", required=True, until="9.4", listed=_MODEL_HELP),
    Text(name="project_id", since="9.4"),
    Text(name="location", since="9.4"),
    Text(name="model_id", since="9.4"),
    Url(name="url", since="9.4"),
    Url(name="streaming_url", since="9.4"),
    Choice(
        name="provider",
        default=GOOGLE,
        upper=True,
        choices=("google", "anthropic", "meta", "hugging_face", "mistral", "ai21"),
        since="9.4",
    ),
    RateLimit(requests_per_minute=1000),
)
_EMBEDDING_TASK_SETTINGS: tuple[Setting, ...] = (
    Choice(name="input_type", choices=tuple(t.value for t in InputType if t is not InputType.UNSPECIFIED)),
    Flag(name="auto_truncate"),
)


class ThinkingConfig(TextMap):
    """``thinking_config`` with its one key ``thinking_budget``, a whole number; other keys are ignored."""

    def checked(self, value: Any, reading: Reading) -> Any:
        inner = Reading(dict(value), TASK_SETTINGS, reading.generation, reading.service)
        budget = Int(name="thinking_budget").read(inner)
        reading.messages += inner.messages
        return None if budget is None else {"thinking_budget": budget}


_CHAT_TASK_SETTINGS: tuple[Setting, ...] = (
    ThinkingConfig(name="thinking_config", since="9.4"),
    PositiveInt(name="max_tokens", since="9.4"),
)


def check_chat_settings(values: dict[str, Any], reading: Reading) -> None:
    """From 9.4 on: other makers need an address, Google's own models a project and a name, until 9.5 a location too."""
    if not reading.generation.at_least("9.4"):
        return
    provider, urls = values.get("provider", GOOGLE), [values.get("url"), values.get("streaming_url")]
    if provider != GOOGLE:
        if not any(urls):
            reading.complain(
                f"Google Model Garden provider={provider.lower()} selected. "
                "Either 'uri' or 'streaming_uri' must be provided"
            )
        return
    if any(urls):
        uri, streaming_uri = (value or "null" for value in urls)
        reading.complain(
            "'provider' is either GOOGLE or null. For Google Vertex AI models 'uri' and 'streaming_uri' must not be "
            "provided. Remove 'url' and 'streaming_url' fields. "
            f"Provided values: uri={uri}, streaming_uri={streaming_uri}"
        )
        return
    names = ("project_id", "model_id") if reading.generation.at_least("9.5") else ("location", "project_id", "model_id")
    if any(name not in values for name in names):
        *first, last = (f"'{name}'" for name in names)
        given = ", ".join(f"{name}={values.get(name, 'null')}" for name in names)
        reading.complain(
            f"For Google Vertex AI models, you must provide {', '.join(first)}, and {last}. Provided values: {given}"
        )


def fill_task_settings(values: dict[str, Any], settings: dict[str, Any], reading: Reading) -> None:
    """Elasticsearch shows a missing limit as ``null`` beside a thinking budget."""
    if "thinking_config" in values:
        values.setdefault("max_tokens", None)


def headers(call: Call) -> dict[str, str]:
    return {"Authorization": f"Bearer {call.token}"}


def model_url(call: Call, method: str, location: str, model: str) -> str:
    """The address of a model in ``location``, on the host of the endpoint's region."""
    region = call.settings.get("location", GLOBAL)
    host = "aiplatform.googleapis.com" if region == GLOBAL else f"{region}-aiplatform.googleapis.com"
    project, model = quote(call.settings["project_id"], safe=""), quote(model, safe="/:@")
    return f"https://{host}/v1/projects/{project}/locations/{location}/publishers/google/models/{model}:{method}"


# --- embeddings ----------------------------------------------------------------------------------------------


def request_embeddings(call: Call) -> ProviderRequest:
    """Generations before 9.4 send no ``parameters`` unless ``auto_truncate`` is set, and never the size."""
    options: dict[str, Any] = {}
    if call.input_type and (task_type := TASK_TYPES.get(call.input_type.public)):
        options["task_type"] = task_type
    body: dict[str, Any] = {"instances": [{"content": text, **options} for text in call.texts]}
    parameters: dict[str, Any] = {}
    if (truncate := call.task_settings.get("auto_truncate")) is not None:
        parameters["autoTruncate"] = truncate
    is_newer = call.generation.at_least("9.4")
    if is_newer and call.settings.get("dimensions_set_by_user"):
        parameters["outputDimensionality"] = call.settings["dimensions"]
    if parameters or is_newer:
        body["parameters"] = parameters
    location = quote(call.settings.get("location", GLOBAL), safe="")
    url = model_url(call, "predict", location, call.settings["model_id"])
    return ProviderRequest.json(url, body, headers(call))


def parse_vectors(answer: ProviderAnswer, call: Call) -> DenseEmbeddings:
    """``{"predictions": [{"embeddings": {"values": [...]}}]}``."""
    body, where = answer.json(), f"{TITLE} embeddings"
    predictions = body.get("predictions") if isinstance(body, dict) else None
    if not isinstance(predictions, list):
        raise field_missing("predictions", where)
    vectors = []
    for prediction in predictions:
        embeddings = prediction.get("embeddings") if isinstance(prediction, dict) else None
        if not isinstance(embeddings, dict):
            raise field_missing("embeddings", where)
        if "values" not in embeddings:
            raise field_missing("values", where)
        vectors.append(dense_vector(embeddings["values"]))
    return DenseEmbeddings(tuple(vectors))


# --- rerank --------------------------------------------------------------------------------------------------


def request_rerank(call: Call) -> ProviderRequest:
    body: dict[str, Any] = {}
    if model := call.settings.get("model_id"):
        body["model"] = model
    body["query"] = call.query
    body["records"] = [{"id": str(number), "content": text} for number, text in enumerate(call.texts)]
    if (top_n := call.option("top_n")) is not None:
        body["topN"] = top_n
    if call.return_documents is not None:
        body["ignoreRecordDetailsInResponse"] = not call.return_documents
    url = RANKING_URL.format(quote(call.settings["project_id"], safe="")) + "/default_ranking_config:rank"
    return ProviderRequest.json(url, body, headers(call))


def parse_ranking(answer: ProviderAnswer, call: Call) -> Ranking:
    """``{"records": [{"id", "content", "score"}]}``."""
    body = answer.json()
    records = body.get("records") if isinstance(body, dict) else None
    if not isinstance(records, list):
        raise field_missing("records", f"{TITLE} rerank")
    return Ranking(tuple(_ranked(record) for record in records))


def _ranked(record: Any) -> RankedDocument:
    index = record.get("id") if isinstance(record, dict) else None
    if not isinstance(index, str) or not index.isdecimal():
        raise field_missing("id", f"{TITLE} rerank")
    score = record.get("score")
    if not is_number(score):
        raise field_missing("score", f"{TITLE} rerank")
    return RankedDocument(int(index), score, record.get("content"))


# --- completions and chats -----------------------------------------------------------------------------------


def request_chat(call: Call) -> ProviderRequest:
    if (maker := model_garden.maker(call)) is not None:
        return model_garden.request(call, maker, headers(call))
    model = call.chat.model if call.chat and call.chat.model else call.settings["model_id"]
    method = "streamGenerateContent?alt=sse" if call.stream else "generateContent"
    # Google serves chats from its global location, on regional hosts as well
    return ProviderRequest.json(model_url(call, method, GLOBAL, model), gemini_chat.chat_body(call), headers(call))


def check_chat(call: Call) -> None:
    if (maker := model_garden.maker(call)) is not None:
        model_garden.check_chat(call, maker)
    else:
        gemini_chat.check_chat(call)


def parse_chat(answer: ProviderAnswer, call: Call) -> Completion:
    maker = model_garden.maker(call)
    return model_garden.parse(answer, call, maker) if maker else gemini_chat.parse_completion(answer, call)


def stream(call: Call) -> StreamReader:
    maker = model_garden.maker(call)
    return model_garden.stream(call, maker) if maker else gemini_chat.stream(call, FAILURES)


def chat_failures(call: Call) -> Failures:
    maker = model_garden.maker(call)
    return maker.failures if maker else FAILURES


def _chat_task(task_type: TaskType) -> RemoteTask:
    return RemoteTask(
        sending=f"Failed to send {TITLE} {task_type} request from inference entity id [{{id}}]",
        settings=_CHAT_SETTINGS,
        secrets=(_KEY_FILE,),
        check=check_chat_settings,
        task_settings=_CHAT_TASK_SETTINGS,
        check_task_settings=fill_task_settings,
        token=request_token,
        check_call=check_chat,
        request=request_chat,
        parse=parse_chat,
        stream=stream,
        failures=FAILURES,
        failures_of=chat_failures,
        single_input="Google VertexAI chat completion" if task_type is TaskType.COMPLETION else None,
        reads_reasoning=True,
        since="8.19",
    )


SERVICE = Service(
    name="googlevertexai",
    title=TITLE,
    tasks={
        TaskType.TEXT_EMBEDDING: RemoteTask(
            sending=f"Failed to send {TITLE} embeddings request",
            settings=_EMBEDDING_SETTINGS,
            secrets=(_KEY_FILE,),
            task_settings=_EMBEDDING_TASK_SETTINGS,
            token=request_token,
            request=request_embeddings,
            parse=parse_vectors,
            failures=FAILURES,
            dense=Dense("dot_product"),
            input_types=PUBLIC_INPUT_TYPES,
            label=TITLE,
            max_inputs=MAX_INPUTS,
            batch_size_of=lambda settings: settings.get("max_batch_size"),
            since="8.16",
        ),
        TaskType.RERANK: RemoteTask(
            sending=f"Failed to send {TITLE} rerank request",
            settings=_RERANK_SETTINGS,
            secrets=(_KEY_FILE,),
            task_settings=(PositiveInt(name="top_n"),),
            token=request_token,
            request=request_rerank,
            parse=parse_ranking,
            failures=FAILURES,
            since="8.16",
        ),
        TaskType.COMPLETION: _chat_task(TaskType.COMPLETION),
        TaskType.CHAT_COMPLETION: _chat_task(TaskType.CHAT_COMPLETION),
    },
)
