"""May the caller do what would cost inference? Asked of the cluster with the caller's own credentials.

Nobody is to spend tokens on a write or a search that the cluster then refuses.
Source: Elasticsearch reference, "Has privileges API".
"""

from __future__ import annotations

import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable

import orjson
from multidict import CIMultiDict

from sidecar.front.cluster import Cluster

_PATH = "/_security/user/_has_privileges"
# Long enough for a stream of bulks, short enough that a withdrawn right stops costing at once.
_FRESH_SECONDS = 5.0
_SECURITY_OFF_SECONDS = 60.0
_REMEMBERED = 4096
_CREDENTIALS = ("Authorization", "es-security-runas-user", "es-secondary-authorization", "X-Client-Authentication")
# What a node without security, or with security switched off, says to that path.
_WITHOUT_SECURITY = frozenset({400, 404, 405, 500, 501})


class Privileges:
    """Answers are remembered for a few seconds per credential, by its hash alone."""

    def __init__(self, cluster: Cluster, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._cluster = cluster
        self._clock = clock
        self._known: OrderedDict[tuple[bytes, str, str], tuple[float, bool]] = OrderedDict()
        self._off_until = 0.0

    async def granted(self, headers: CIMultiDict[str], index: str, privilege: str) -> bool:
        """Whether the caller with these ``headers`` has ``privilege`` on every index of ``index`` (a comma list).

        Always true where security is off; false as well for credentials that are none.

        Raises:
            aiohttp.ClientError: no node answers.
        """
        now = self._clock()
        if now < self._off_until:
            return True
        key = (_digest(headers), index, privilege)
        known = self._known.get(key)
        if known is not None and now < known[0]:
            return known[1]
        has = await self._ask(headers, index, privilege)
        self._known[key] = (now + _FRESH_SECONDS, has)
        self._known.move_to_end(key)
        while len(self._known) > _REMEMBERED:
            self._known.popitem(last=False)
        return has

    async def _ask(self, headers: CIMultiDict[str], index: str, privilege: str) -> bool:
        wanted = {"index": [{"names": index.split(","), "privileges": [privilege], "allow_restricted_indices": True}]}
        sent = CIMultiDict(headers)
        sent["Content-Type"] = sent["Accept"] = "application/json"
        answer = await self._cluster.call("POST", _PATH, sent, orjson.dumps(wanted))
        if answer.status == 200:
            return answer.json().get("has_all_requested") is True
        if answer.status in _WITHOUT_SECURITY:
            self._off_until = self._clock() + _SECURITY_OFF_SECONDS
            return True
        return False


def _digest(headers: CIMultiDict[str]) -> bytes:
    digest = hashlib.sha256()
    for name in _CREDENTIALS:
        for value in headers.getall(name, ()):
            digest.update(f"{name}:{value}\n".encode("utf-8", "surrogateescape"))
    return digest.digest()
