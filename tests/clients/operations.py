"""Operations of one client library, run against a sidecar; each tells in a line what was seen.

The programs beside this module are run with the libraries' own Python: ``python -m tests.clients.openai_sdk URL``
prints one JSON object for each operation, ``{"client", "operation", "works", "seen"}``.
"""

from __future__ import annotations

import json
import sys
import traceback
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any, TypeAlias

SPARSE = ".elser-2-elasticsearch"
DENSE = ".multilingual-e5-small-elasticsearch"
RERANK = ".rerank-v1-elasticsearch"
CHAT = "chats"
QUESTION = "how do whales sing"
TEXTS = ["ships sail to the harbour", "whales sing in the deep sea", "stocks fell on Monday"]
BEST = TEXTS[1]

Operation: TypeAlias = Callable[[str], str]


@dataclass(slots=True)
class Operations:
    """The operations of the client that a distribution brings, in the order in which they are declared."""

    distribution: str
    steps: list[tuple[str, Operation]] = field(default_factory=list)

    def named(self, name: str) -> Callable[[Operation], Operation]:
        """Declares an operation: a function of the sidecar's address that gives what was seen, or raises."""

        def declare(run: Operation) -> Operation:
            self.steps.append((name, run))
            return run

        return declare

    def main(self) -> None:
        """Runs all against the address in the first argument."""
        client = f"{self.distribution} {version(self.distribution)}"
        for name, run in self.steps:
            try:
                works, seen = True, run(sys.argv[1])
            except Exception as error:
                traceback.print_exc()
                works, seen = False, f"{type(error).__name__}: {error}"
            print(json.dumps({"client": client, "operation": name, "works": works, "seen": seen}), flush=True)


def send(method: str, url: str, body: Any = None) -> Any:
    """The JSON answer to a plain request, by no client; raises ``urllib.error.HTTPError``."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"}, method=method)
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.loads(answer.read() or b"null")


def native(url: str, text: str, input_type: str) -> list[float]:
    """The vector that the Inference API gives for a text."""
    body = {"input": text, "input_type": input_type}
    answer = send("POST", f"{url}/_inference/text_embedding/{DENSE}", body)
    return [float(number) for number in answer["text_embedding"][0]["embedding"]]


def same(given: list[float], url: str, text: str, input_type: str) -> str:
    """Holds a vector against the Inference API's."""
    wanted = native(url, text, input_type)
    assert len(given) == len(wanted), (len(given), len(wanted))
    largest = max(abs(a - b) for a, b in zip(given, wanted, strict=True))
    assert largest < 1e-5, largest
    return f"{len(given)} numbers, those of `input_type: {input_type}`"


def best(texts: list[str]) -> str:
    """Holds that the text that answers the question comes first."""
    assert texts[0] == BEST, texts
    return f"{len(texts)} hits, the best first"


def fresh(url: str, name: str, **body: Any) -> str:
    """No index of that name, or, with a body, a new one."""
    send("DELETE", f"{url}/{name}?ignore_unavailable=true")
    if body:
        send("PUT", f"{url}/{name}", body)
    return name


def refused(call: Callable[[], Any], kind: type[Exception], *words: str) -> str:
    """Holds that a call raises the library's own error, with the sidecar's words."""
    try:
        answer = call()
    except kind as error:
        assert all(word in str(error) for word in words), str(error)
        return f"`{kind.__name__}`: {', '.join(words)}"
    raise AssertionError(f"not refused: {answer!r}")
