"""May the caller do what would cost inference? Asked of the cluster with the caller's own credentials.

Nobody is to spend tokens on a write or a search that the cluster then refuses.
Source: Elasticsearch reference, "Has privileges API".
"""

from __future__ import annotations

import hashlib
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import orjson
from multidict import CIMultiDict

from sidecar.front.cluster import Answer, Cluster

_PATH = "/_security/user/_has_privileges"
# Long enough for a stream of bulks, short enough that a withdrawn right stops costing at once.
_FRESH_SECONDS = 5.0
_SECURITY_OFF_SECONDS = 60.0
_REMEMBERED = 4096
_CREDENTIALS = ("Authorization", "es-security-runas-user", "es-secondary-authorization", "X-Client-Authentication")
# What a node with security switched off says to that path. A caller can bring about other errors (a header that
# stands twice), so a status alone must not open the door for everybody.
_WITHOUT_SECURITY = "no handler found for uri"
# Whatever of it may be searched is counted, and nothing of it is read.
_NOTHING: dict[str, Any] = {"size": 0, "query": {"match_none": {}}, "track_total_hits": False}


class Privileges:
    """What may be done is remembered for a few seconds per credential, by its hash alone.

    What may not be done is asked about anew each time: where the right was given meanwhile, a document that goes on
    without its vectors would not be refused.
    """

    def __init__(self, cluster: Cluster, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._cluster = cluster
        self._clock = clock
        self._known: OrderedDict[tuple[bytes, str, str], float] = OrderedDict()
        self._off_until = 0.0

    async def granted(self, headers: CIMultiDict[str], index: str, privilege: str) -> bool:
        """Whether the caller with these ``headers`` has ``privilege`` on every index of ``index`` (a comma list).

        Always true where security is off; false as well for credentials that are none.

        Raises:
            aiohttp.ClientError: no node answers.
        """
        return await self._remembered(headers, index, privilege, lambda: self._ask(headers, index, privilege))

    async def granted_on_any(self, headers: CIMultiDict[str], names: Sequence[str], privilege: str) -> bool:
        """Whether the caller has ``privilege`` on one of ``names`` at least.

        Raises:
            aiohttp.ClientError: no node answers.
        """
        for name in dict.fromkeys(names):
            if await self.granted(headers, name, privilege):
                return True
        return False

    async def searches(self, headers: CIMultiDict[str], target: str, pit: Mapping[str, Any] | None = None) -> bool:
        """Whether a search at ``target`` (raw path and query) reaches any shard for the caller with these ``headers``.

        For patterns and points in time, of which the cluster shows every caller what that caller may read.

        Raises:
            aiohttp.ClientError: no node answers.
        """
        body = orjson.dumps(_NOTHING if pit is None else {**_NOTHING, "pit": pit})

        async def ask() -> bool:
            if await self._ask(headers, "*", "read"):
                return True
            answer = await self._post(headers, target, body)
            return answer.status == 200 and answer.json().get("_shards", {}).get("total", 0) > 0

        return await self._remembered(headers, target, body.decode(), ask)

    async def _remembered(
        self, headers: CIMultiDict[str], what: str, how: str, ask: Callable[[], Awaitable[bool]]
    ) -> bool:
        now = self._clock()
        if now < self._off_until:
            return True
        key = (_digest(headers), what, how)
        known = self._known.get(key)
        if known is not None and now < known:
            return True
        has = await ask()
        if not has:
            return False
        self._known[key] = now + _FRESH_SECONDS
        self._known.move_to_end(key)
        while len(self._known) > _REMEMBERED:
            self._known.popitem(last=False)
        return True

    async def _ask(self, headers: CIMultiDict[str], index: str, privilege: str) -> bool:
        wanted = {"index": [{"names": index.split(","), "privileges": [privilege], "allow_restricted_indices": True}]}
        answer = await self._post(headers, _PATH, orjson.dumps(wanted))
        if answer.status == 200:
            return answer.json().get("has_all_requested") is True
        if _is_without_security(answer):
            self._off_until = self._clock() + _SECURITY_OFF_SECONDS
            return True
        return False

    async def _post(self, headers: CIMultiDict[str], target: str, body: bytes) -> Answer:
        sent = CIMultiDict(headers)
        sent["Content-Type"] = sent["Accept"] = "application/json"
        return await self._cluster.call("POST", target, sent, body)


def _is_without_security(answer: Answer) -> bool:
    if answer.status != 400:
        return False
    try:
        said = orjson.loads(answer.body)
    except orjson.JSONDecodeError:
        return False
    error = said.get("error") if isinstance(said, dict) else None
    return isinstance(error, str) and error.startswith(_WITHOUT_SECURITY)


def _digest(headers: CIMultiDict[str]) -> bytes:
    digest = hashlib.sha256()
    for name in _CREDENTIALS:
        for value in headers.getall(name, ()):
            digest.update(f"{name}:{value}\n".encode("utf-8", "surrogateescape"))
    return digest.digest()
