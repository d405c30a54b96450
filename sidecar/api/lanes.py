"""How long Elasticsearch waits for a model server, and how the sidecar answers within that.

A search is given up after 10 s; an ingest waits for as long as it takes, but is lost after two quick refusals.
So a search gets a short deadline and no second chance, and an ingest is held until there is room for it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_delay, wait_random_exponential

from sidecar.api.call import Call
from sidecar.api.keys import INFERENCE
from sidecar.api.result_bodies import truncated_inputs
from sidecar.core.endpoint import Endpoint
from sidecar.core.errors import RejectedExecutionError, RequestTimeoutError, StatusError
from sidecar.core.requests import InferenceRequest
from sidecar.core.results import Result
from sidecar.core.tasks import InputType, TaskType
from sidecar.runtime.catalog import LocalModelInfo

_BETWEEN_TRIES = wait_random_exponential(multiplier=0.05, max=1.0)


class Lane(StrEnum):
    """Why Elasticsearch calls; part of the URL, since its requests do not say."""

    INGEST = "ingest"
    SEARCH = "search"

    @property
    def input_type(self) -> InputType:
        return InputType.INTERNAL_SEARCH if self is Lane.SEARCH else InputType.INTERNAL_INGEST


@dataclass(frozen=True, slots=True)
class LaneCall:
    """A call that came through a compatibility route."""

    call: Call
    endpoint: Endpoint
    lane: Lane

    @classmethod
    async def begin(cls, call: Call, inference_id: str, lane: Lane, *task_types: TaskType) -> LaneCall:
        """Finds the endpoint; raises ``ResourceNotFoundError``, or ``StatusError`` for one of another task type."""
        endpoint = await call.request.app[INFERENCE].find(inference_id)
        call.facts |= {"endpoint": inference_id, "task_type": endpoint.task_type.value, "lane": lane.value}
        if endpoint.task_type not in task_types:
            allowed = ", ".join(task_types)
            raise StatusError(
                f"Endpoint [{inference_id}] has task type [{endpoint.task_type}], this URL needs one of [{allowed}]"
            )
        return cls(call, endpoint, lane)

    @property
    def local_model(self) -> LocalModelInfo | None:
        """The model in this process that answers, ``None`` where a provider does."""
        return self.call.request.app[INFERENCE].local_model(self.endpoint)

    async def perform(self, request: InferenceRequest) -> Result:
        """Runs inference within the lane's deadline; an ingest that finds the queue full tries again until then."""
        options = self.call.options
        deadline = options.search_deadline if self.lane is Lane.SEARCH else options.ingest_deadline
        request = replace(request, timeout=deadline, timeout_text=f"{deadline:g}s")
        self.call.facts["inputs"] = len(request.input)
        inference = self.call.request.app[INFERENCE]
        tries = AsyncRetrying(
            retry=retry_if_exception_type(RejectedExecutionError),
            stop=stop_after_delay(deadline if self.lane is Lane.INGEST else 0),
            wait=_BETWEEN_TRIES,
            reraise=True,
        )
        self.call.truncated = ()
        async for attempt in tries:
            with attempt:
                answer = await inference.perform(self.endpoint, request, generation=self.call.generation)
                self.call.truncated = truncated_inputs(answer.result)
                return answer.result
        raise RequestTimeoutError(f"{deadline:g}s", self.endpoint.inference_id)
