"""Seeded requests of every route, format and encoding, good and bad, of any size: for the fuzzer and the benchmark."""

from __future__ import annotations

import gzip
import json
import random
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import cbor2
import yaml

PATHS = (
    ("POST", "/_inference/{id}"),
    ("POST", "/_inference/text_embedding/{id}"),
    ("POST", "/_inference/sparse_embedding/{id}"),
    ("POST", "/_inference/embedding/{id}"),
    ("POST", "/_inference/rerank/{id}"),
    ("POST", "/_inference/completion/{id}"),
    ("POST", "/_inference/completion/{id}/_stream"),
    ("POST", "/_inference/chat_completion/{id}/_stream"),
    ("PUT", "/_inference/text_embedding/{id}"),
    ("PUT", "/_inference/{id}/_update"),
    ("PUT", "/_inference/sparse_embedding/{id}/_update"),
    ("POST", "/compat/hf/{id}/sparse/ingest"),
    ("POST", "/compat/hf/{id}/embed"),
    ("POST", "/compat/hf/{id}/rerank/search"),
    ("POST", "/compat/pairs/sparse_embedding/{id}/search"),
    ("POST", "/v1/embeddings"),
    ("POST", "/v2/rerank"),
    ("POST", "/compat/cohere/{id}/rerank"),
)
OTHER_PATHS = (
    ("GET", "/"),
    ("GET", "/_inference"),
    ("GET", "/_inference/_all"),
    ("GET", "/_inference/{id}"),
    ("GET", "/_inference/_services"),
    ("GET", "/_inference/.diagnostics"),
    ("DELETE", "/_inference/{id}"),
    ("DELETE", "/_inference/sparse_embedding/{id}?dry_run=true"),
    ("HEAD", "/"),
    ("OPTIONS", "/_inference/{id}"),
    ("PATCH", "/_inference/{id}"),
    ("GET", "/%ff/%00"),
    ("GET", "/_sidecar/health/live"),
    ("GET", "/metrics"),
)
_WORDS = (
    *(
        "word",
        "wörd",
        "文字",
        "🙂",
        "a\\n",
        "\t",
        '"quoted"',
        "1.5e3",
        "null",
        "{",
        "[",
        "]",
        "}",
        ",",
        ":",
        "//",
        "/*",
    ),
    *("yes", "2024-13-45", "~", "\u2028"),
)
_QUERIES = (
    "",
    "",
    "",
    "?pretty",
    "?format=yaml",
    "?format=cbor",
    "?filter_path=**.a,-b.*",
    "?error_trace",
    "?timeout=1s",
)


@dataclass(frozen=True, slots=True)
class Generated:
    """One request; ``kind`` says how its body was made."""

    kind: str
    method: str
    path: str
    body: bytes | None = None
    headers: dict[str, str] = field(default_factory=dict)


def requests(seed: int, count: int, largest: int, inference_ids: tuple[str, ...] = ("none",)) -> Iterator[Generated]:
    """``count`` requests with bodies of up to ``largest`` bytes, sizes spread over all orders of magnitude."""
    for number in range(count):
        chance = random.Random(f"{seed}/{number}")
        inference_id = chance.choice(inference_ids)
        if chance.random() < 0.05:
            method, path = chance.choice(OTHER_PATHS)
            yield Generated("no body", method, path.replace("{id}", inference_id))
            continue
        method, path = chance.choice(PATHS)
        size = int(16 * (largest / 16) ** chance.random())
        kind = chance.choice(sorted(_BODIES))
        data, headers = _encoded(chance, _BODIES[kind](chance, size))
        query = chance.choice(_QUERIES)
        yield Generated(kind, method, path.replace("{id}", inference_id) + query, data[:largest], headers)


def _encoded(chance: random.Random, body: Any) -> tuple[bytes, dict[str, str]]:
    """The body in one of the formats, broken now and then, compressed now and then, rightly or not."""
    headers = {"Content-Type": "application/json"}
    if isinstance(body, bytes):
        data = body
    elif (form := chance.random()) < 0.1 and len(str(body)) < 200_000:
        data, headers["Content-Type"] = yaml.dump(body, Dumper=_YAML, allow_unicode=True).encode(), "application/yaml"
    elif form < 0.2:
        data, headers["Content-Type"] = cbor2.dumps(body), "application/cbor"
    else:
        text = json.dumps(body, ensure_ascii=chance.random() < 0.5, indent=chance.choice((None, None, 1)))
        data = text.encode(chance.choice(("utf-8", "utf-8", "utf-8", "utf-16", "latin-1")), "replace")
    if (breaking := chance.random()) < 0.25:
        at = chance.randrange(len(data) + 1)
        data = (data[:at], data[:at] + bytes([chance.randrange(256)]) + data[at:], data[:-1] + b",]}")[
            int(breaking * 12)
        ]
    coding = chance.random()
    if coding < 0.1:
        data, headers["Content-Encoding"] = gzip.compress(data, 1), "gzip"
    elif coding < 0.15:
        data, headers["Content-Encoding"] = zlib.compress(data, 1), "deflate"
    elif coding < 0.2:
        headers["Content-Encoding"] = chance.choice(("gzip", "deflate", "br", "zstd", "identity", "x"))
    if chance.random() < 0.03:
        headers["Content-Type"] = chance.choice(("text/plain", "application/smile", "x", "application/json;x=", ""))
    return data, headers


_YAML = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


def _text(chance: random.Random, size: int) -> str:
    text = " ".join(chance.choices(_WORDS, k=min(size // 5 + 1, 400)))
    return (text * (size // len(text) + 1))[: max(size, 1)]


def _few_texts(chance: random.Random, size: int) -> Any:
    texts = [_text(chance, size // 4) for _ in range(4)]
    return {chance.choice(("input", "inputs")): texts, "query": "q", "model": "none", "documents": texts}


def _many_texts(chance: random.Random, size: int) -> Any:
    return {chance.choice(("input", "inputs", "texts")): [chance.choice(_WORDS)] * (size // 8 + 1), "query": "q"}


def _numbers(chance: random.Random, size: int) -> Any:
    number = chance.choice((1, -0.5, 10**30, 1e300, True, None))
    return {"service": "openai", "input": "a", chance.choice(("x", "service_settings")): [number] * (size // 6 + 1)}


def _objects(chance: random.Random, size: int) -> Any:
    return {"service": "openai", "service_settings": {"x": [{"a": 1, "b": [{}]}] * (size // 30 + 1)}}


def _settings(chance: random.Random, size: int) -> Any:
    names: dict[str, Any] = {f"unknown_{n}": chance.choice((1, "a", None, [], {})) for n in range(size // 20 + 1)}
    service = chance.choice(("openai", "elser", "elasticsearch", "custom", "cohere", "none", "hugging_face"))
    return {"service": service, "service_settings": names, "task_settings": {"x": 1}}


def _chat(chance: random.Random, size: int) -> Any:
    length = chance.choice((5, 50, 2000))
    message = {"role": "user", "content": _text(chance, length)}
    parts = {"role": "user", "content": [{"type": "text", "text": "x"}] * 5}
    return {"messages": [message, parts] * (size // (length + 200) + 1), chance.choice(("model", "unknown")): "m"}


def _groups(chance: random.Random, size: int) -> Any:
    content = {"type": chance.choice(("text", "image")), "value": chance.choice(("x", "data:image/png;base64,AA=="))}
    return {"input": [{"content": [content]}, "text"] * (size // 60 + 1)}


def _deep(chance: random.Random, size: int) -> bytes:
    depth = min(size // 2, chance.choice((10, 390, 410, 1100, 5000, 10**7)))
    opening, closing = chance.choice(((b"[", b"]"), (b'{"a":', b"}")))
    return b'{"service":"x","task_settings":{"x":' + opening * depth + b"1" + closing * depth + b"}}"


def _long_name(chance: random.Random, size: int) -> Any:
    return {"service": "openai", "service_settings": {"k" * size: 1}}


def _loose(chance: random.Random, size: int) -> bytes:
    inside = chance.choice(
        (b"/* c */", b"\xef\xbb\xbf", b"\xed\xa0\x80", b"\\ud83d", b"\x00", b"\xff", b'"a":1,"a":2,')
    )
    return b'{"input":["' + b"a b" * (size // 3) + inside + b'"]}'


def _blank(chance: random.Random, size: int) -> bytes:
    return chance.choice((b" ", b"\n", b"\r\n", b"\t")) * size + chance.choice((b"", b"{}", b"[]", b"1", b"{"))


def _bytes(chance: random.Random, size: int) -> bytes:
    return chance.randbytes(size)


def _yaml_text(chance: random.Random, size: int) -> bytes:
    line = chance.choice((b"- 2024-13-45\n", b"- !!int abc\n", b"- *a\n", b"a: &b [*b]\n", b"- yes\n", b"? - a\n"))
    return b"input:\n" + line * (size // len(line) + 1)


_BODIES: dict[str, Callable[[random.Random, int], Any]] = {
    "few texts": _few_texts,
    "many texts": _many_texts,
    "numbers": _numbers,
    "objects": _objects,
    "settings": _settings,
    "chat": _chat,
    "groups": _groups,
    "deep": _deep,
    "long name": _long_name,
    "loose": _loose,
    "blank": _blank,
    "bytes": _bytes,
    "yaml": _yaml_text,
}
