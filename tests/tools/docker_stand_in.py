"""Stands in for the docker program and its daemon: notes each call, and "runs" an image that answers like a node.

Takes the file for the calls from DOCKER_CALLS. What it cannot show is that the real image takes these settings.
"""

import json
import os
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

ANSWERS = {
    "/": {"version": {"number": "9.4.3"}},
    "/_cluster/health": {"status": "green"},
    "/_license": {"license": {"type": "basic"}},
}


class Answer(BaseHTTPRequestHandler):
    """The three requests by which a node is recognised."""

    def do_GET(self) -> None:
        """Answer from the table."""
        body = json.dumps(ANSWERS[self.path.split("?")[0] or "/"]).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def main(arguments: list[str]) -> None:
    """Play one call of docker."""
    with Path(os.environ["DOCKER_CALLS"]).open("a") as calls:
        calls.write(json.dumps(arguments) + "\n")
    if arguments[0] == "info":
        print("28.2.2\tDebian GNU/Linux 12 (bookworm)")
    elif arguments[0] == "run":
        port = next(part.removeprefix("http.port=") for part in arguments if part.startswith("http.port="))
        HTTPServer(("127.0.0.1", int(port)), Answer).serve_forever()


if __name__ == "__main__":
    main(sys.argv[1:])
