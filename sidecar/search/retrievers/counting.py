"""The page of a ranking and, beside it in one request, the count of everything that the legs match.

One search for both would have to score whatever the legs match in order to find the few that it shows. Counting alone
is fast, and so are few documents by their names: together they take a node half of the time.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

import orjson

from sidecar.search.bodies import write_object
from sidecar.search.retrievers.running import NO_SHARD_FIRST

TARGET = "/_msearch?" + urlencode({"filter_path": "-responses.pit_id", "pre_filter_shard_size": NO_SHARD_FIRST})
_BESIDE_A_TOTAL = ("track_total_hits", "runtime_mappings")
# Both whole and on every shard, as Elasticsearch writes them; anything else is for one search to answer.
_ANSWERED = re.compile(
    rb'\{"took":\d+,"responses":\['
    rb'\{"took":\d+,"timed_out":false,(?:"terminated_early":false,)?'
    rb'"_shards":\{"total":(?P<all>\d+),"successful":(?P=all),"skipped":\d+,"failed":0\},'
    rb'"hits":\{"total":(?P<total>\{[^{}]*\}),"max_score":null,"hits":\[\]\},"status":200\},'
    rb'(?P<start>\{"took":\d+,"timed_out":false,"_shards":\{[^{}]*"failed":0\},"hits":\{"total":)\{[^{}]*\}(?P<rest>.*)'
    rb',"status":200\}\]\}\s*',
    re.DOTALL,
)


def page_beside_count(page: Mapping[str, Any], counted: Mapping[str, Any]) -> bytes:
    """The lines of an ``_msearch`` of the body ``page`` and of what the query ``counted`` matches."""
    count = {"query": counted, "size": 0, "pit": page["pit"]}
    count |= {name: page[name] for name in _BESIDE_A_TOTAL if name in page}
    return b"\n".join((orjson.dumps({}), write_object(count), orjson.dumps({}), write_object(page), b""))


def page_with_total(answer: bytes) -> bytes | None:
    """The page out of the ``answer`` to such lines, as it came but for its total; ``None`` where anything failed."""
    found = _ANSWERED.fullmatch(answer)
    return None if found is None else found["start"] + found["total"] + found["rest"] + b"}"
