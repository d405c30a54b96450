"""The engine's calls by the official client, for commands that have no caller's request to pass on."""

from __future__ import annotations

from elasticsearch import AsyncElasticsearch

from sidecar.search.bodies import write_object
from sidecar.search.executor import Reply

_REFUSALS = list(range(400, 600))


class ClientExecutor:
    """Calls the cluster with the client's credentials; refusals are answers, no exceptions.

    Raises ``TransportError`` where the cluster does not answer.
    """

    def __init__(self, client: AsyncElasticsearch) -> None:
        self._client = client.options(ignore_status=_REFUSALS)

    async def call(
        self,
        method: str,
        target: str,
        body: bytes | None = None,
        *,
        content_type: str = "application/json",
        as_shown: bool = False,
    ) -> Reply:
        headers = {"Accept": "application/json"} | ({"Content-Type": content_type} if body is not None else {})
        answer = await self._client.perform_request(method, target, headers=headers, body=body)
        return Reply(answer.meta.status, write_object(answer.body))
