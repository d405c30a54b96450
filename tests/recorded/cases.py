"""Recorded requests with the answers real Elasticsearch nodes gave, and sending them to another server."""

from __future__ import annotations

import base64
import gzip
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
from yarl import URL

Json = Any
CASES = Path(__file__).with_name("api.jsonl.gz")
COMPARED_HEADERS = ("content-type", "allow", "x-elastic-product", "x-opaque-id", "warning")


@dataclass(frozen=True)
class RecordedAnswer:
    """Status, the headers that are compared (names in lower case), and the body: JSON, or text."""

    status: int
    headers: Mapping[str, str]
    body: Json
    product_header_varies: bool = False


@dataclass(frozen=True)
class Case:
    """One recorded request; ``answers`` by version of Elasticsearch."""

    id: str
    setup: tuple[dict[str, Json], ...]
    request: dict[str, Json]
    teardown: tuple[dict[str, Json], ...]
    as_text: bool
    answers: Mapping[str, RecordedAnswer]

    @property
    def names(self) -> frozenset[str]:
        """The words of the case's paths, the ids of its own endpoints among them."""
        paths = [step["path"] for step in (*self.setup, self.request)]
        return frozenset(word for path in paths for word in re.split("[/?&=]", path))


def load_cases(version: str) -> Iterator[Case]:
    """Cases that a node of ``version`` answered."""
    with gzip.open(CASES, "rt", encoding="utf-8") as lines:
        for line in lines:
            raw = json.loads(line)
            if version in raw["answers"]:
                yield _case(raw)


def _case(raw: dict[str, Json]) -> Case:
    answers = {
        version: RecordedAnswer(a["status"], a["headers"], a["body"], a.get("product_header_varies", False))
        for version, a in raw["answers"].items()
    }
    setup, teardown = tuple(raw.get("setup", ())), tuple(raw.get("teardown", ()))
    return Case(raw["id"], setup, raw["request"], teardown, bool(raw.get("text")), answers)


@dataclass
class Target:
    """The server under test, and the provider it is to reach."""

    session: aiohttp.ClientSession
    base: str
    provider: str

    async def replay(self, case: Case) -> tuple[RecordedAnswer, list[str]]:
        """The server's answer, and the steps before it that went wrong."""
        failed = []
        for step in case.setup:
            answer = await self.send(step, as_text=False)
            if answer.status >= 300 and not step.get("may_fail"):
                failed.append(f"setup {step['method']} {step['path']}: {answer.status} {json.dumps(answer.body)[:200]}")
        try:
            return await self.send(case.request, as_text=case.as_text), failed
        finally:
            for step in case.teardown:
                if (await self.send(step, as_text=False)).status == 400:  # Older generations have no ``force``.
                    await self.send({**step, "path": step["path"].partition("?")[0]}, as_text=False)

    async def send(self, request: dict[str, Json], *, as_text: bool) -> RecordedAnswer:
        data, headers = self._encode(request)
        async with self.session.request(
            request["method"],
            URL(self.base + request["path"], encoded=True),
            data=data,
            headers=headers,
            skip_auto_headers=("Accept", "Content-Type", "Accept-Encoding"),
            allow_redirects=False,
        ) as response:
            raw = await response.read()
            kept: dict[str, str] = {}
            for name, value in response.headers.items():
                if name.lower() in COMPARED_HEADERS:
                    kept[name.lower()] = f"{kept[name.lower()]}, {value}" if name.lower() in kept else value
            return RecordedAnswer(response.status, kept, self._decode(raw, kept, as_text))

    def _encode(self, request: dict[str, Json]) -> tuple[bytes | None, dict[str, str]]:
        headers = {name.lower(): value for name, value in (request.get("headers") or {}).items()}
        data: bytes | None = None
        if request.get("raw_base64") is not None:
            data = base64.b64decode(request["raw_base64"])
        elif request.get("raw") is not None:
            data = self._fill(request["raw"]).encode()
        elif request.get("body") is not None:
            data = self._fill(json.dumps(request["body"], ensure_ascii=False)).encode()
        if data is not None:
            headers.setdefault("content-type", "application/json")
        return data, {name: value for name, value in headers.items() if value is not None}

    def _decode(self, raw: bytes, headers: Mapping[str, str], as_text: bool) -> Json:
        content_type = headers.get("content-type", "")
        if "cbor" in content_type or "smile" in content_type:
            return {"base64": base64.b64encode(raw).decode()}
        text = self._blank(raw.decode())
        if as_text or "json" not in content_type:
            return text
        return json.loads(text) if text else text

    def _fill(self, text: str) -> str:
        host = self.provider.removeprefix("http://")
        return text.replace("{{upstream}}", self.provider).replace("{{upstream_host}}", host)

    def _blank(self, text: str) -> str:
        host = self.provider.removeprefix("http://")
        return text.replace(self.provider, "{{upstream}}").replace(host, "{{upstream_host}}")
