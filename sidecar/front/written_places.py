"""Where documents came to lie, as the cluster's answers say: an alias may lead elsewhere by now.

What an alias, a data stream or a date stands for is remembered for a few seconds, and may be changed past the sidecar.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from itertools import islice

import aiohttp

from sidecar.core.errors import SidecarError
from sidecar.front.targets import WritePlan
from sidecar.front.write_context import WriteContext
from sidecar.wire.content_codings import Decoder
from sidecar.wire.warning_header import warning_header

# Names of indices hold no character that JSON escapes.
_PLACE = re.compile(rb'"_index"\s*:\s*"([^"\\]+)"')
# All items of one name go to the same index.
_MOST_LOOKED_AT = 16
_BEGINNING = 4096  # bytes of an answer, zipped or not

Planned = Mapping[tuple[str, str], WritePlan]
"""What was planned, by the index that was named and the operation."""
Left = Mapping[tuple[str, str, str], WritePlan]
"""What earlier documents of a bulk were planned by, by name, operation and the index that the name led to then."""


class WrittenPlaces:
    """Looks at the answer to a write that ``planned`` was for; to be given to ``Exchange.forward`` as ``seen``.

    ``left`` are plans of a bulk for indices from which a name was led elsewhere while it was sent.
    """

    def __init__(self, context: WriteContext, planned: Planned, left: Left | None = None) -> None:
        self._context = context
        self._planned = planned
        self._left = {} if left is None else left

    async def __call__(self, answer: aiohttp.ClientResponse, told: bytes) -> Iterable[tuple[str, str]]:
        """``Warning`` headers for documents that lie in an index which is bound otherwise than was thought."""
        if "json" not in answer.headers.get("Content-Type", ""):
            return []
        generation = self._context.exchange.front.generation
        try:
            read = Decoder(answer.headers.get("Content-Encoding")).feed(told[:_BEGINNING])
        except SidecarError:
            return []
        return [("Warning", warning_header(text, generation)) for text in await self.strays(read)]

    async def strays(self, told: bytes) -> list[str]:
        """What is to be said of documents of which ``told`` names another index than was thought.

        What is known of all indices is forgotten then. Documents of pipelines, which may send them on, are left out.
        """
        plans = self._planned.values()
        if any(plan.default_pipeline or plan.final_pipeline for plan in (*plans, *self._left.values())):
            return []
        known = {plan.index for plan in plans} | {name for name, _ in self._planned}
        found = {match[1].decode("utf-8", "replace") for match in islice(_PLACE.finditer(told), _MOST_LOOKED_AT)}
        texts: dict[str, None] = {}
        if not found <= known:
            self._context.exchange.front.catalog.drop()
            for (name, operation), plan in self._planned.items():
                now = await self._context.plan(name, operation)
                if now.index in found - known and replace(now, index=plan.index) != plan:
                    why = f"of which the sidecar did not know yet that [{name}] leads there"
                    texts[_text(name, now, why, plan)] = None
        for (name, operation, _), plan in self._left.items():
            now = await self._context.plan(name, operation)
            if now.index in found - {plan.index} and replace(now, index=plan.index) != plan:
                why = f"to which [{name}] was led when some of them were on their way"
                texts[_text(name, now, why, plan)] = None
        return list(texts)


def _text(name: str, now: WritePlan, why: str, plan: WritePlan) -> str:
    return (
        f"documents for [{name}] were written to index [{now.index}], {why}, and which is bound otherwise than index"
        f" [{plan.index}]: run [sidecar backfill]"
    )
