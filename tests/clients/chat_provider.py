"""A provider of chats in OpenAI's form, which stands in for a real one and says ``Hello there`` in two pieces.

Where it is offered tools and has not had an answer of one, it calls ``weather`` first, its arguments in two pieces.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


def _chunk(choices: list[dict[str, Any]], **more: Any) -> bytes:
    body = {"id": "c1", "object": "chat.completion.chunk", "model": "any", "choices": choices, **more}
    return b"data: " + json.dumps(body).encode() + b"\n\n"


_ANSWER = (
    _chunk([{"index": 0, "delta": {"role": "assistant", "content": "Hello"}}])
    + _chunk([{"index": 0, "delta": {"content": " there"}, "finish_reason": "stop"}])
    + _chunk([], usage={"completion_tokens": 2, "prompt_tokens": 5, "total_tokens": 7})
    + b"data: [DONE]\n\n"
)


_CALL = (
    _chunk(
        [
            {
                "index": 0,
                "delta": {
                    "role": "assistant",
                    "content": None,
                    "tool_calls": [
                        {
                            "index": 0,
                            "id": "call_1",
                            "type": "function",
                            "function": {"name": "weather", "arguments": ""},
                        }
                    ],
                },
            }
        ]
    )
    + _chunk([{"index": 0, "delta": {"tool_calls": [{"index": 0, "function": {"arguments": '{"city":'}}]}}])
    + _chunk([{"index": 0, "delta": {"tool_calls": [{"index": 0, "function": {"arguments": '"Oslo"}'}}]}}])
    + _chunk([{"index": 0, "delta": {}, "finish_reason": "tool_calls"}])
    + _chunk([], usage={"completion_tokens": 4, "prompt_tokens": 9, "total_tokens": 13})
    + b"data: [DONE]\n\n"
)


class _Chats(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        is_answered = any(message["role"] == "tool" for message in asked["messages"])
        answer = _CALL if asked.get("tools") and not is_answered else _ANSWER
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, format: str, *args: Any) -> None:
        """Says nothing."""


@contextmanager
def chat_provider() -> Iterator[str]:
    """The address of its chats."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Chats) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/v1/chat/completions"
        server.shutdown()
        thread.join()
