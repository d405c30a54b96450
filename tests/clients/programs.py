"""The programs that drive the real libraries, and the table of what they saw in docs/clients.md.

make clients                                the libraries, in environments of their own, and the tests with them
python -m tests.clients.programs            writes the table anew
python -m tests.clients.programs java ...   writes the rows of these programs anew
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import urllib.error
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from demo.sidecar_process import running_sidecar
from tests.clients.chat_provider import chat_provider
from tests.clients.operations import CHAT, send
from tools.elasticsearch_node import start_node

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent
PAGE = ROOT / "docs" / "clients.md"
BEGIN, END = "<!-- clients: make clients -->\n", "<!-- end of clients -->\n"
LIBRARIES = ROOT / ".venv" / "clients" / "libraries" / "bin" / "python"
NODE_MODULES = ROOT / ".venv" / "clients" / "node"
PYTHON_PROGRAMS = ("openai_sdk", "cohere_sdk", "langchain_store", "llama_index_store", "haystack_store", "hugging_face")
JAVASCRIPT_PACKAGES = ("elasticsearch-8", "elasticsearch-9")
JARS = ROOT / ".venv" / "clients" / "java"
GO_CLIENTS = ROOT / ".venv" / "clients" / "go"
GO_PROGRAMS = ("go-8", "go-9")
JAVA = "java"
PROGRAMS = (*PYTHON_PROGRAMS, *JAVASCRIPT_PACKAGES, JAVA, *GO_PROGRAMS)
_EXAMPLE = re.compile(r"^```(python|js)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_ADDRESS = "http://localhost:9800"


@dataclass(frozen=True, slots=True)
class Seen:
    """One operation of one client, and what came of it."""

    client: str
    operation: str
    works: bool
    seen: str


@contextmanager
def front_with_chats(elasticsearch_url: str) -> Iterator[str]:
    """The address of a sidecar in front of a cluster, with local models and a chat whose provider is a stand-in."""
    more = {"SIDECAR_FRONT": "true", "SIDECAR_ALLOW_UNREADABLE_SECRETS": "true"}
    with (
        tempfile.TemporaryDirectory() as folder,
        chat_provider() as provider,
        running_sidecar(Path(folder), elasticsearch_url, more) as sidecar,
    ):
        endpoint = f"{sidecar.url}/_inference/chat_completion/{CHAT}"
        _delete(endpoint)  # of a run that was ended, on a cluster that outlived it
        settings = {"api_key": "any", "model_id": "any", "url": provider}
        send("PUT", endpoint, {"service": "openai", "service_settings": settings})
        try:
            yield sidecar.url
        finally:
            _delete(endpoint)


def _delete(endpoint: str) -> None:
    with suppress(urllib.error.HTTPError):
        send("DELETE", f"{endpoint}?force=true")


def run(program: str, url: str) -> list[Seen]:
    """What the program of a library saw, in the order of its operations; raises ``CalledProcessError``."""
    if program in JAVASCRIPT_PACKAGES:
        command = ["node", str(HERE / "javascript.mjs"), program, url]
        output = _output(command, NODE_MODULES)
    elif program == JAVA:
        (jar,) = JARS.glob("elasticsearch-java-*.jar")
        version = jar.stem.removeprefix("elasticsearch-java-")
        output = _output(["java", "-cp", f"{JARS}/*", str(HERE / "JavaClient.java"), version, url], ROOT)
    elif program in GO_PROGRAMS:
        output = _output([str(go_client(program)), url], ROOT)
    else:
        output = _output([str(LIBRARIES), "-m", f"tests.clients.{program}", url], ROOT)
    return [Seen(**json.loads(line)) for line in output.splitlines() if line.startswith("{")]


def go_client(program: str) -> Path:
    """The compiled program of a line."""
    return GO_CLIENTS / program.removeprefix("go-") / "client"


def examples(language: str) -> list[str]:
    """The examples of the page in ``python`` or ``js``, in their order."""
    return [code for written, code in _EXAMPLE.findall(PAGE.read_text()) if written == language]


def run_python(code: str, url: str) -> str:
    """What an example prints; raises ``CalledProcessError``."""
    return _output([str(LIBRARIES), "-c", code.replace(_ADDRESS, url)], ROOT)


def run_javascript(code: str, url: str, package: str) -> str:
    """What an example prints with one of the packages; raises ``CalledProcessError``."""
    code = code.replace(_ADDRESS, url).replace("@elastic/elasticsearch", package)
    return _output(["node", "--input-type=module", "--eval", code], NODE_MODULES)


def _output(command: list[str], folder: Path) -> str:
    quiet = {"HAYSTACK_TELEMETRY_ENABLED": "False", "LANGSMITH_TRACING": "false"}
    environment = {**os.environ, **quiet, "PYTHONPATH": str(ROOT)}
    run = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300, check=False)
    sys.stderr.write(run.stderr)
    run.check_returncode()
    return run.stdout


def table(rows: list[Seen]) -> str:
    """Clients and operations as a table in Markdown."""
    lines = ["| client | operation | | seen |", "|---|---|---|---|"]
    lines += [f"| {r.client} | {r.operation} | {'works' if r.works else 'fails'} | {_cell(r.seen)} |" for r in rows]
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())


def written_rows() -> list[str]:
    """The rows of the table that the page holds."""
    text = PAGE.read_text().split(BEGIN)[1].split(END)[0]
    return [line for line in text.splitlines()[2:] if line]


def written_operations() -> set[tuple[str, str]]:
    """Clients, without their versions, and operations of the table that the page holds."""
    cells = [line.split(" | ") for line in written_rows()]
    return {(client.removeprefix("| ").rsplit(" ", 1)[0], operation) for client, operation, *_ in cells}


def main() -> None:
    """Runs the programs that are named, or all, and writes their rows of the table; other rows stay before them."""
    programs = [name for name in PROGRAMS if name in sys.argv[1:] or not sys.argv[1:]]
    with start_node("9", "basic") as node, front_with_chats(node.url) as url:
        rows = [row for program in programs for row in run(program, url)]
    clients = {f"| {row.client.rsplit('.', 2)[0]}." for row in rows}
    kept = [line for line in written_rows() if not any(line.startswith(client) for client in clients)]
    lines = table(rows).splitlines()
    text = "\n".join([*lines[:2], *(kept if sys.argv[1:] else []), *lines[2:]]) + "\n"
    before, rest = PAGE.read_text().split(BEGIN)
    PAGE.write_text(before + BEGIN + text + END + rest.split(END)[1])
    print(text)


if __name__ == "__main__":
    main()
