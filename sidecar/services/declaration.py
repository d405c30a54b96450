"""What a service is: a declaration per task type of its settings, its provider request, its answer and its failures.

A provider module holds one :class:`Service` named ``SERVICE``. It does no I/O: the sender in ``sidecar.upstream``
sends what ``request`` builds and hands the answer to ``parse`` or the bytes of a stream to the ``stream`` reader.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sidecar.core.generations import Generation
from sidecar.core.results import Answer, Result
from sidecar.core.tasks import InputType, TaskType
from sidecar.services.calls import Call, ProviderAnswer, ProviderRequest, StreamReader, TokenRequest
from sidecar.services.failures import Failures
from sidecar.services.setting_kinds import API_KEY, MaxInputTokens
from sidecar.services.settings import Reading, Setting

PUBLIC_INPUT_TYPES = frozenset(
    {InputType.INGEST, InputType.SEARCH, InputType.CLASSIFICATION, InputType.CLUSTERING, InputType.UNSPECIFIED}
)
# Elasticsearch's own where a service names none
DEFAULT_BATCH = 20


@dataclass(frozen=True, slots=True)
class Dense:
    """How a service treats the vectors' size, which the validation call finds out.

    ``similarity`` is the default (``None``: the service has none to show); ``similarity_of`` refines it by settings.
    With ``compares_dimensions`` a size other than the one asked for is an error, else it overwrites the setting.
    """

    similarity: str | None = "dot_product"
    similarity_of: Callable[[Mapping[str, Any]], str | None] | None = None
    compares_dimensions: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One task type of a service: what it accepts.

    ``settings``, ``task_settings`` and ``secrets`` are read in their order; the checks look at what was read and may
    complain. ``prepare`` sees the raw ``service_settings`` and ``task_settings`` before anything is read.
    ``screen_task_settings`` sees the task settings of a create or inference request as they came and may raise.
    ``check_endpoint`` sees settings and secrets when all are read, before unknown keys are reported; ``check_update``
    sees the stored settings and those that an update gives, unread, and ``merge_update`` makes the new settings of the
    stored ones, those that it changes and its body (default: what it gives replaces what is stored).
    ``shows`` are stored values shown besides the declared ones.
    ``task_settings_of`` says which task settings endpoints with certain settings have, where they differ.
    ``further_settings`` gives the settings that depend on those read before, and ``check_together`` looks at settings
    and task settings when everything is read. With ``secrets_first`` secrets come before anything else; with
    ``ignores_top_level`` unknown keys beside the settings are not reported.
    ``chunking_since`` is the first generation that has chunking settings for it, ``default_chunking`` what a generation
    chunks by when none are given. ``since`` is the first generation that has the task, ``listed_since`` the first in
    which ``GET _inference/_services`` tells so.
    """

    settings: tuple[Setting, ...]
    secrets: tuple[Setting, ...] = ()
    task_settings: tuple[Setting, ...] = ()
    prepare: Callable[[dict[str, Any], dict[str, Any]], None] | None = None
    check: Callable[[dict[str, Any], Reading], None] | None = None
    check_secrets: Callable[[dict[str, Any], Reading], None] | None = None
    check_task_settings: Callable[[dict[str, Any], dict[str, Any], Reading], None] | None = None
    screen_task_settings: Callable[[Mapping[str, Any], Generation], None] | None = None
    check_endpoint: Callable[[Mapping[str, Any], Mapping[str, Any]], None] | None = None
    check_update: Callable[[Mapping[str, Any], Mapping[str, Any]], None] | None = None
    merge_update: (
        Callable[[Mapping[str, Any], Mapping[str, Any], Mapping[str, Any], Reading], dict[str, Any]] | None
    ) = None
    task_settings_of: Callable[[Mapping[str, Any]], tuple[Setting, ...]] | None = None
    further_settings: Callable[[Mapping[str, Any]], tuple[Setting, ...]] | None = None
    check_together: Callable[[Mapping[str, Any], Mapping[str, Any]], None] | None = None
    secrets_first: bool = False
    ignores_top_level: bool = False
    shows: frozenset[str] = frozenset()
    has_chunking: bool = True
    chunking_since: str = "8.11"
    default_chunking: Callable[[Generation], dict[str, Any] | None] | None = None
    ignores_task_settings: bool = False
    shows_empty_task_settings: bool = False
    listed_since: str = "8.11"
    since: str = "8.11"

    def is_known(self, generation: Generation) -> bool:
        return generation.at_least(self.since)


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteTask(Task):
    """A task that a provider performs.

    ``sending`` starts the message of a call that got no usable answer (``{id}`` is the inference id, ``{task}`` the
    task type); ``creation`` is what a failed validation call could not complete. ``request`` and
    ``parse`` are pure; ``stream`` makes a reader, ``None`` where the task cannot stream. ``check_call`` refuses calls
    that the provider cannot serve. ``token`` says how to get a bearer token, when one is needed.
    ``merge`` makes the effective task settings of stored and requested ones (default: the request's keys win).
    ``input_types`` are those accepted in the request root (``None``: the option is refused altogether); ``label`` names
    the service in that refusal. ``single_input`` names the task in the refusal of more than one input.
    ``max_inputs`` is the provider's hard limit per request. ``batch_size`` is what ingestion sends at once, that limit
    or 20 when neither is declared; ``batch_size_of`` finds what the settings say of it, or ``None``.
    ``failures_of`` chooses a family by the call, where one is not enough. ``complete`` finishes the stored settings
    after the validation call.
    ``sign`` adds to a built request what depends on its bytes and the time. ``max_inputs_of`` is a hard limit that
    depends on the settings. ``keeps_unknown_task_settings`` hands a request's unknown task settings to the provider.
    A chat that asks for ``reasoning`` is refused unless the task ``reads_reasoning``.
    With ``parses_empty`` even an empty body goes to ``parse``; with ``stores_unvalidated`` an endpoint is stored
    although its validation call failed.
    """

    sending: str
    creation: str = "inference endpoint creation"
    request: Callable[[Call], ProviderRequest]
    parse: Callable[[ProviderAnswer, Call], Result | Answer]
    failures: Failures
    failures_of: Callable[[Call], Failures] | None = None
    secrets: tuple[Setting, ...] = (API_KEY,)
    stream: Callable[[Call], StreamReader] | None = None
    token: Callable[[Call], TokenRequest | None] | None = None
    check_call: Callable[[Call], None] | None = None
    merge: Callable[[Mapping[str, Any], Mapping[str, Any]], Mapping[str, Any]] | None = None
    dense: Dense | None = None
    input_types: frozenset[InputType] | None = None
    label: str = ""
    single_input: str | None = None
    max_inputs: int | None = None
    batch_size: int | None = None
    batch_size_of: Callable[[Mapping[str, Any]], int | None] | None = None
    complete: Callable[[dict[str, Any], dict[str, Any]], None] | None = None
    probe: Callable[[Call], Call] | None = None
    sign: Callable[[ProviderRequest, Call, datetime], ProviderRequest] | None = None
    max_inputs_of: Callable[[Mapping[str, Any]], int | None] | None = None
    keeps_unknown_task_settings: bool = False
    reads_reasoning: bool = False
    parses_empty: bool = False
    stores_unvalidated: bool = False

    def failures_for(self, call: Call) -> Failures:
        return self.failures_of(call) if self.failures_of else self.failures

    def most_inputs(self, settings: Mapping[str, Any]) -> int | None:
        """How many inputs the provider takes in one request, ``None`` where it names no limit."""
        return self.max_inputs_of(settings) if self.max_inputs_of else self.max_inputs

    def most_characters(self, settings: Mapping[str, Any]) -> int | None:
        """How many characters of a text the provider is sent, ``None`` for all."""
        declared = next((setting for setting in self.settings if isinstance(setting, MaxInputTokens)), None)
        return declared.most_characters(settings) if declared else None

    def ingest_batch(self, settings: Mapping[str, Any]) -> int:
        """How many inputs ingestion sends in one request, at most what the provider takes."""
        limit = self.most_inputs(settings)
        chosen = self.batch_size_of(settings) if self.batch_size_of else None
        batch = chosen or self.batch_size or limit or DEFAULT_BATCH
        return batch if limit is None else min(batch, limit)


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """One inference service. ``listed`` is false for those that ``GET _inference/_services`` leaves out.

    A provider that Elasticsearch does not have says ``in_elasticsearch=False``: its tasks have no release to wait for,
    and are there in every generation that has their task type.

    ``settings_first`` services report unknown keys of ``service_settings`` before anything else.
    """

    name: str
    title: str
    tasks: Mapping[TaskType, Task]
    listed: bool = True
    in_elasticsearch: bool = True
    older_title: str | None = None
    settings_first: bool = False

    @property
    def is_local(self) -> bool:
        """True when the models run in this process."""
        return not any(isinstance(task, RemoteTask) for task in self.tasks.values())

    def stream_tasks(self, generation: Generation) -> tuple[TaskType, ...]:
        """The task types that can stream, in Elasticsearch's order."""
        tasks = ((task_type, self.task(task_type, generation)) for task_type in TaskType)
        return tuple(task_type for task_type, task in tasks if isinstance(task, RemoteTask) and task.stream)

    def task(self, task_type: TaskType, generation: Generation) -> Task | None:
        task = self.tasks.get(task_type)
        is_known = task is not None and task.is_known(generation) and task_type in generation.task_types
        return task if is_known else None

    def is_known(self, generation: Generation) -> bool:
        return any(task.is_known(generation) for task in self.tasks.values())
