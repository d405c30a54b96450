"""Two hundred and more different requests to a cluster, in an order in which they make sense."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import cbor2

JSON = ("Content-Type", "application/json")
NDJSON = ("Content-Type", "application/x-ndjson")
COMPATIBLE_8 = "application/vnd.elasticsearch+json; compatible-with=8"
Headers = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class RawRequest:
    """``figures`` marks answers whose numbers change by themselves."""

    method: str
    target: str
    headers: Headers = ()
    body: bytes | None = None
    figures: bool = False
    name: str = field(default="", compare=False)

    def __str__(self) -> str:
        shown = " ".join(f"{name}={value}" for name, value in self.headers if value != "application/json")
        return f"{self.method} {self.target} {shown}".strip()


def _json(method: str, target: str, body: object, *headers: tuple[str, str], figures: bool = False) -> RawRequest:
    return RawRequest(method, target, (JSON, *headers), json.dumps(body).encode(), figures)


def _lines(*values: object) -> bytes:
    return b"".join(json.dumps(value).encode() + b"\n" for value in values)


def _get(*targets: str, figures: bool = False) -> Iterator[RawRequest]:
    for target in targets:
        yield RawRequest("GET", target, figures=figures)


INDEX = "front-raw"
MAPPING = {
    "settings": {"number_of_replicas": 0},
    "mappings": {
        "properties": {
            "title": {"type": "text"},
            "kind": {"type": "keyword"},
            "count": {"type": "integer"},
            "at": {"type": "date"},
            "v": {"type": "dense_vector", "dims": 2, "similarity": "l2_norm"},
            "t": {"type": "sparse_vector"},
        }
    },
}
_ALL: dict[str, Any] = {"query": {"match_all": {}}}
_SMILE = b":)\n\x05\xfa\x84size\xc2\xfb"  # {"size": 1}
_FORMATS: tuple[Headers, ...] = (
    (("Accept", "application/yaml"),),
    (("Accept", "application/cbor"),),
    (("Accept", "application/smile"),),
    (("Accept", "application/json; charset=utf-8"),),
    (("Accept", COMPATIBLE_8),),
    (("Accept", "text/plain"),),
    (("Accept", "*/*"),),
    (("Accept", "application/nonsense"),),
    (("Accept", "application/vnd.elasticsearch+json; compatible-with=3"),),
    (("Accept-Encoding", "gzip"),),
    (("Accept-Encoding", "deflate"),),
    (("Accept-Encoding", "br, gzip;q=0.5"),),
    (("X-Opaque-Id", "mine"),),
    (("X-Opaque-Id", "one"), ("X-Opaque-Id", "two")),
    (("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),),
    (("Authorization", "Basic ZWxhc3RpYzpub25l"),),
    (("X-Custom", "a"), ("X-Custom", "b"), ("Cookie", "c=d")),
    (("Origin", "http://elsewhere"),),
    (("If-None-Match", '"x"'),),
    (("User-Agent", "raw"),),
)


def requests() -> Iterator[RawRequest]:
    """All of them; they leave nothing behind but what :data:`CLEANUP` removes."""
    yield from _documents()
    yield from _searches()
    yield from _forms()
    yield from _information()
    yield from _administration()
    yield from _odd_targets()


def _documents() -> Iterator[RawRequest]:
    yield _json("PUT", f"/{INDEX}", MAPPING)
    yield _json("PUT", f"/{INDEX}", MAPPING)
    for method in ("GET", "HEAD"):
        yield RawRequest(method, f"/{INDEX}")
        yield RawRequest(method, "/front-raw-missing")
    for number in range(3):
        yield _json("PUT", f"/{INDEX}/_doc/{number}", {"title": f"text {number}", "kind": "a", "count": number})
    yield _json("PUT", f"/{INDEX}/_doc/0?refresh=true", {"title": "newer", "kind": "b", "v": [1, 2], "t": {"a": 0.5}})
    yield _json("PUT", f"/{INDEX}/_doc/9?version=7&version_type=external", {"title": "external"})
    yield _json("PUT", f"/{INDEX}/_doc/9?version=6&version_type=external", {"title": "older"})
    yield _json("PUT", f"/{INDEX}/_create/0", {"title": "conflict"})
    yield _json("PUT", f"/{INDEX}/_doc/bad", {"count": "no number"})
    yield RawRequest("PUT", f"/{INDEX}/_doc/broken", (JSON,), b'{"title": ')
    yield RawRequest("PUT", f"/{INDEX}/_doc/empty", (JSON,), b"")
    yield RawRequest("PUT", f"/{INDEX}/_doc/none")
    yield RawRequest("PUT", f"/{INDEX}/_doc/plain", (("Content-Type", "text/plain"),), b"text")
    yield RawRequest("PUT", f"/{INDEX}/_doc/yaml", (("Content-Type", "application/yaml"),), b"title: from yaml\n")
    cbor = cbor2.dumps({"title": "from cbor"})
    yield RawRequest("PUT", f"/{INDEX}/_doc/cbor", (("Content-Type", "application/cbor"),), cbor)
    for name in ("yaml", "cbor"):  # 8.19 cannot show them among JSON documents
        yield RawRequest("GET", f"/{INDEX}/_doc/{name}?filter_path=found,_id")
        yield RawRequest("DELETE", f"/{INDEX}/_doc/{name}?refresh=true")
    zipped = gzip.compress(b'{"title": "zipped"}', mtime=0)
    yield RawRequest("PUT", f"/{INDEX}/_doc/zipped", (JSON, ("Content-Encoding", "gzip")), zipped)
    yield RawRequest("PUT", f"/{INDEX}/_doc/odd", (JSON, ("Content-Encoding", "identity")), b'{"title": "odd"}')
    yield _json("POST", f"/{INDEX}/_update/1", {"doc": {"title": "updated"}})
    yield _json("POST", f"/{INDEX}/_update/1", {"doc": {"title": "updated"}})
    yield _json("POST", f"/{INDEX}/_update/404", {"doc": {"title": "updated"}})
    yield _json("POST", f"/{INDEX}/_update/new", {"doc": {"title": "new"}, "doc_as_upsert": True})
    yield _json("POST", f"/{INDEX}/_update/1?_source=true", {"script": {"source": "ctx._source.count = 5"}})
    bulk = _lines(
        {"index": {"_index": INDEX, "_id": "b1"}},
        {"title": "bulk one"},
        {"create": {"_index": INDEX, "_id": "b1"}},
        {"title": "conflict"},
        {"update": {"_index": INDEX, "_id": "b1"}},
        {"doc": {"count": 3}},
        {"delete": {"_index": INDEX, "_id": "gone"}},
    )
    yield RawRequest("POST", "/_bulk", (NDJSON,), bulk)
    yield RawRequest("PUT", f"/{INDEX}/_bulk?refresh=wait_for&pretty", (NDJSON,), bulk)
    yield RawRequest("POST", "/_bulk", (NDJSON, ("Content-Encoding", "gzip")), gzip.compress(bulk, mtime=0))
    yield RawRequest("POST", "/_bulk?filter_path=items.*.error,errors", (NDJSON,), bulk)
    yield RawRequest("POST", "/_bulk", (NDJSON,), bulk.rstrip(b"\n"))
    yield RawRequest("POST", "/_bulk", (NDJSON,), b'{"nonsense": {}}\n{}\n')
    yield RawRequest("POST", "/_bulk?nonsense=1", (NDJSON,), bulk)
    for target in (
        "_doc/1",
        "_doc/404",
        "_source/1",
        "_source/404",
        "_doc/1?_source=false",
        "_doc/1?_source_includes=title",
    ):
        yield RawRequest("GET", f"/{INDEX}/{target}")
        yield RawRequest("HEAD", f"/{INDEX}/{target}")
    yield _json("POST", "/_mget", {"docs": [{"_index": INDEX, "_id": "1"}, {"_index": INDEX, "_id": "404"}]})
    yield RawRequest("GET", f"/{INDEX}/_termvectors/1?fields=title")
    yield RawRequest("DELETE", f"/{INDEX}/_doc/2")
    yield RawRequest("DELETE", f"/{INDEX}/_doc/2")
    yield RawRequest("POST", f"/{INDEX}/_refresh")


def _searches() -> Iterator[RawRequest]:
    yield RawRequest("GET", f"/{INDEX}/_search")
    yield RawRequest("GET", f"/{INDEX}/_search?q=title:text&size=1&sort=count")
    yield RawRequest("HEAD", f"/{INDEX}/_search")
    bodies: tuple[dict[str, Any], ...] = (
        _ALL,
        {"query": {"match": {"title": "text"}}, "highlight": {"fields": {"title": {}}}, "explain": True},
        {"query": {"sparse_vector": {"field": "t", "query_vector": {"a": 1.0}}}},
        {"knn": {"field": "v", "query_vector": [1, 2], "k": 1, "num_candidates": 1}},
        {"size": 0, "aggs": {"kinds": {"terms": {"field": "kind"}}}},
        {"retriever": {"standard": {"query": {"match_all": {}}}}},
        {"query": {"nonsense": {}}},
        {"query": {"match": {"title": 1}}, "sort": [{"count": "desc"}], "track_total_hits": False},
        {"query": {"script_score": {"query": {"match_all": {}}, "script": "broken("}}},
        {"query": {"match_all": {}}, "runtime_mappings": {"r": {"type": "long", "script": "emit(1)"}}, "fields": ["r"]},
        {"size": 100_000},
        {"from": -1},
    )
    for body in bodies:
        yield _json("POST", f"/{INDEX}/_search", body)
        yield _json("GET", f"/{INDEX}/_count", body)
    yield _json("POST", f"/{INDEX}/_search?typed_keys&pretty&human", {"aggs": {"m": {"max": {"field": "count"}}}})
    yield _json("POST", f"/{INDEX}/_search?filter_path=hits.total,-hits.hits", _ALL)
    yield _json("POST", f"/{INDEX}/_search?rest_total_hits_as_int=true", _ALL)
    yield _json("POST", f"/{INDEX}/_search?error_trace=true", {"query": {"nonsense": {}}})
    yield _json("POST", "/front-raw-missing/_search", _ALL)
    yield _json("POST", "/front-raw-missing/_search?ignore_unavailable=true", _ALL)
    yield RawRequest("POST", "/_msearch", (NDJSON,), _lines({"index": INDEX}, _ALL, {"index": "front-raw-no"}, _ALL))
    yield RawRequest("POST", f"/{INDEX}/_msearch", (NDJSON,), _lines({}, _ALL).rstrip())
    yield _json("POST", f"/{INDEX}/_explain/1", _ALL)
    yield _json("POST", f"/{INDEX}/_validate/query?explain=true", _ALL)
    yield _json("POST", f"/{INDEX}/_field_caps?fields=*", {})
    yield _json("POST", f"/{INDEX}/_rank_eval", {"requests": [], "metric": {"precision": {}}})
    yield _json("POST", f"/{INDEX}/_terms_enum", {"field": "kind", "string": "a"})
    yield _json("POST", f"/{INDEX}/_search_shards", {}, figures=True)
    yield _json("POST", f"/{INDEX}/_analyze", {"text": "Some Words", "analyzer": "standard"})
    yield _json("POST", f"/{INDEX}/_search/template", {"source": {"query": {"match_all": {}}}})
    yield _json("POST", "/_render/template", {"source": {"query": {"match_all": {}}}})
    yield _json("POST", f"/{INDEX}/_async_search?wait_for_completion_timeout=5s", _ALL)
    yield RawRequest("GET", "/_async_search/nonsense")
    yield _json("POST", f"/{INDEX}/_pit?keep_alive=1s", {})
    yield _json("DELETE", "/_search/scroll", {"scroll_id": []})
    yield _json("POST", "/_search/scroll", {"scroll_id": []})
    yield _json("POST", f"/{INDEX}/_graph/explore", {})
    yield _json("POST", f"/{INDEX}/_knn_search", {"knn": {"field": "v", "query_vector": [1, 2], "k": 1}})
    yield _json("POST", "/_query", {"query": f"FROM {INDEX} | LIMIT 1"})
    yield _json("POST", "/_sql?format=txt", {"query": "SELECT 1"})
    yield _json("POST", f"/{INDEX}/_eql/search", {"query": "any where true"})
    yield _json("POST", f"/{INDEX}/_mvt/at/1/1/1", {})
    yield _json("POST", f"/{INDEX}/_delete_by_query?refresh=true", {"query": {"term": {"kind": "none"}}})
    yield _json("POST", f"/{INDEX}/_update_by_query?refresh=true&conflicts=proceed", {"query": {"term": {"kind": "x"}}})
    yield _json("POST", "/_reindex", {"source": {"index": INDEX}, "dest": {"index": f"{INDEX}-copy"}})
    yield _json("POST", "/_scripts/painless/_execute", {"script": {"source": "params.a", "params": {"a": 1}}})


def _forms() -> Iterator[RawRequest]:
    for headers in _FORMATS:
        yield RawRequest("GET", f"/{INDEX}/_search?size=1&sort=count", headers)
        yield RawRequest("POST", f"/{INDEX}/_search", (JSON, *headers), b'{"size": 1, "sort": "count"}')
    for form in ("json", "yaml", "cbor", "smile", "nonsense"):
        yield RawRequest("GET", f"/{INDEX}/_count?format={form}")
        yield RawRequest("GET", f"/_cat/count/{INDEX}?format={form}&h=count")
        yield RawRequest("GET", f"/front-raw-missing/_search?format={form}&error_trace")
    yield RawRequest("POST", f"/{INDEX}/_search", (("Content-Type", "application/smile"),), _SMILE)
    yield RawRequest("POST", f"/{INDEX}/_search", (("Content-Type", COMPATIBLE_8), ("Accept", COMPATIBLE_8)), b"{}")
    yield RawRequest("POST", f"/{INDEX}/_search", (("Content-Type", COMPATIBLE_8),), b"{}")
    yield RawRequest("POST", f"/{INDEX}/_search", (("Content-Type", ""),), b"{}")
    yield RawRequest("POST", f"/{INDEX}/_search?source_content_type=application/json&source=%7B%22size%22:0%7D")
    yield RawRequest("GET", f"/{INDEX}/_search?size=1000", (("Accept-Encoding", "gzip"),))
    yield RawRequest("OPTIONS", f"/{INDEX}/_search")
    yield RawRequest("OPTIONS", "/")
    yield RawRequest("PATCH", f"/{INDEX}", (JSON,), b"{}")
    yield RawRequest("POST", "/_cluster/health", (JSON,), b"{}")


def _information() -> Iterator[RawRequest]:
    yield from _get("/", "/?pretty=false", "/?human", "/?filter_path=tagline", "/?nonsense")
    yield RawRequest("HEAD", "/")
    yield from _get("/_cat", "/_cat/aliases", f"/_cat/count/{INDEX}?v&h=count", f"/_cat/indices/{INDEX}?v&h=index,pri")
    yield from _get("/_cat/master?h=node", "/_cat/nodes?h=name&format=json", "/_cat/plugins", "/_cat/templates?h=name")
    yield from _get("/_cat/health?h=status", "/_cat/shards/front-raw?h=index,shard,prirep", "/_cat/nonsense")
    yield from _get(
        *("/_cat/allocation", "/_cat/fielddata", "/_cat/pending_tasks", "/_cat/recovery", "/_cat/repositories"),
        *("/_cat/segments/front-raw", "/_cat/thread_pool?v", "/_cat/tasks", "/_cat/nodeattrs", "/_cat/ml/jobs"),
        *("/_cluster/health", "/_cluster/stats", "/_cluster/pending_tasks", "/_nodes/stats", "/_nodes/usage"),
        *("/_nodes/hot_threads", "/_stats", f"/{INDEX}/_stats", f"/{INDEX}/_segments", f"/{INDEX}/_recovery"),
        *("/_tasks", "/_info/_all", "/_remote/info", "/_health_report", f"/{INDEX}/_disk_usage"),
        figures=True,
    )
    yield from _get("/_cluster/settings?include_defaults=true&flat_settings", "/_cluster/state/version", figures=True)
    yield from _get(f"/_cluster/health/{INDEX}?wait_for_nodes=99&timeout=300ms", figures=True)
    yield from _get("/_cluster/allocation/explain", "/_nodes", "/_nodes/_local/http", "/_nodes/nobody", figures=True)
    yield from _get("/_migration/deprecations", "/_features", "/_dangling", "/_script_context", "/_script_language")
    yield from _get("/_license", "/_license/trial_status", "/_license/basic_status", "/_xpack", "/_xpack/usage")
    yield from _get("/_security/_authenticate", "/_security/user", "/_ssl/certificates", "/_ilm/policy", "/_slm/policy")
    yield from _get("/_snapshot", "/_ml/info", "/_ml/trained_models", "/_watcher/stats", "/_transform", "/_rollup/jobs")
    yield from _get("/_ccr/stats", "/_enrich/_stats", "/_logstash/pipeline/x", "/_application/search_application")
    yield from _get(
        "/_synonyms", "/_query_rules", "/_connector", "/_autoscaling/policy", "/_searchable_snapshots/stats"
    )
    yield from _get("/_data_stream", "/_data_stream/none", "/_resolve/index/front-raw*", "/_alias", "/_alias/none")


def _administration() -> Iterator[RawRequest]:
    for target in (
        "_mapping",
        "_settings",
        "_alias",
        "_mapping/field/title",
        "_ilm/explain",
        "_migrate/reindex/status",
    ):
        yield RawRequest("GET", f"/{INDEX}/{target}")
    yield from _get(f"/{INDEX}?flat_settings", f"/{INDEX}/_mapping?pretty", f"/{INDEX},none?ignore_unavailable=true")
    yield _json("PUT", f"/{INDEX}/_mapping", {"properties": {"more": {"type": "keyword"}}})
    yield _json("PUT", f"/{INDEX}/_mapping", {"properties": {"title": {"type": "keyword"}}})
    yield _json("PUT", f"/{INDEX}/_settings", {"index": {"max_result_window": 20000}})
    yield _json("PUT", f"/{INDEX}/_settings", {"index": {"nonsense": 1}})
    yield _json("POST", "/_aliases", {"actions": [{"add": {"index": INDEX, "alias": "front-raw-alias"}}]})
    yield RawRequest("HEAD", "/_alias/front-raw-alias")
    yield RawRequest("GET", "/front-raw-alias/_count")
    yield RawRequest("DELETE", f"/{INDEX}/_alias/front-raw-alias")
    template = {"index_patterns": ["front-raw-never-*"], "template": {"settings": {"number_of_replicas": 0}}}
    yield _json("PUT", "/_index_template/front-raw", template)
    yield from _get("/_index_template/front-raw", "/_index_template/none")
    yield RawRequest("HEAD", "/_index_template/front-raw")
    yield RawRequest("POST", "/_index_template/_simulate_index/front-raw-never-1")
    yield RawRequest("DELETE", "/_index_template/front-raw")
    yield _json("PUT", "/_component_template/front-raw", {"template": {}})
    yield RawRequest("GET", "/_component_template/front-raw")
    yield RawRequest("DELETE", "/_component_template/front-raw")
    yield _json("PUT", "/_template/front-raw", {"index_patterns": ["front-raw-never-*"]})
    yield RawRequest("DELETE", "/_template/front-raw")
    pipeline = {"processors": [{"set": {"field": "kind", "value": "piped"}}]}
    yield _json("PUT", "/_ingest/pipeline/front-raw", pipeline)
    yield RawRequest("GET", "/_ingest/pipeline/front-raw")
    yield _json("POST", "/_ingest/pipeline/front-raw/_simulate", {"docs": [{"_source": {"a": 1}}]})
    yield _json("PUT", f"/{INDEX}/_doc/piped?pipeline=front-raw", {"title": "piped"})
    yield _json("PUT", f"/{INDEX}/_doc/piped?pipeline=none", {"title": "piped"})
    yield RawRequest("DELETE", "/_ingest/pipeline/front-raw")
    yield RawRequest("GET", "/_ingest/processor/grok", figures=True)
    yield _json("PUT", "/_scripts/front-raw", {"script": {"lang": "painless", "source": "1"}})
    yield RawRequest("GET", "/_scripts/front-raw")
    yield RawRequest("DELETE", "/_scripts/front-raw")
    for action in ("_close", "_open", "_flush", "_forcemerge?max_num_segments=1", "_cache/clear", "_block/read_only"):
        yield RawRequest("PUT" if "_block" in action else "POST", f"/{INDEX}/{action}")
    yield _json("PUT", f"/{INDEX}/_settings", {"index.blocks.read_only": None})
    yield _json("POST", f"/{INDEX}/_clone/{INDEX}-clone", {})
    yield _json("PUT", "/_cluster/settings", {"transient": {"nonsense": 1}})
    yield _json("POST", "/_cluster/reroute?dry_run=true", {}, figures=True)
    yield _json("PUT", "/_data_stream/front-raw-stream", {})
    yield RawRequest("POST", "/_tasks/nonsense:1/_cancel")
    yield RawRequest("DELETE", "/front-raw-missing")


def _odd_targets() -> Iterator[RawRequest]:
    yield from _get(
        "/_nonsense", "/a/b/c/d", "/A-Big-Name", f"/{INDEX}//_search", "//", "/%", "/%zz", "/a?%zz", "/a?b=%"
    )
    yield from _get(
        "/%66ront-raw/_count", "/front-raw%2C/_count", "/%3Cfront-raw-%7Bnow%2Fd%7D%3E/_count", "/a%2Fb/_doc/1"
    )
    yield from _get(
        "/front-raw/_doc/%C3%A9", "/front-raw/_doc/a%2Fb", "/front-raw/_doc/a+b", "/front-raw/_doc/%20", "/.."
    )
    yield from _get(
        "/front-raw/_search?size=1;from=0&sort=count", "/front-raw/_count?", "/front-raw/_count?&&", "/*/%2e%2e"
    )
    yield from _get(
        "/front-raw/_count?q=title:a%26b", "/front-raw/_count?q=a+b", "/front-raw/_count?q=%C3%A9", "/a|b", '/a"b'
    )
    yield RawRequest("GET", f"/{INDEX}/_count?q=" + "x" * 3000)
    yield RawRequest("GET", f"/{INDEX}/_count?q=" + "x" * 5000)
    yield RawRequest("GET", f"/{INDEX}/_count", (("X-Long", "y" * 9000),))


CLEANUP = ("/front-raw,front-raw-copy,front-raw-clone?ignore_unavailable=true",)
