"""Writes docs/departures.md: where answers differ from Elasticsearch's on purpose, and why.

    python -m tools.departures          # writes the file

The rows come from the departures that the tests keep beside the recorded cases.
"""

from __future__ import annotations

import json
from pathlib import Path

from tests.recorded.departures import DEPARTURES

ROOT = Path(__file__).parent.parent
DOCUMENT = ROOT / "docs" / "departures.md"
SERVICES = ROOT / "tests" / "services" / "departures"
VERSIONS = ("9.4.3", "8.19.8")
API = "API"
_HEAD = """# Departures

Recorded requests that the sidecar answers, or passes to a provider, differently from Elasticsearch, each with its
reason. Every other recorded request is answered alike; a test holds this table, the reasons kept beside the recordings
and the cases that differ together. `python -m tools.departures` writes it anew.

| service | case | version | reason |
|---|---|---|---|
"""


def rows() -> list[tuple[str, str, str, str]]:
    """Service, case, versions and reason, sorted; cases of the API that belong to no service come last."""
    found: dict[tuple[str, str, str], list[str]] = {}
    for path in sorted(SERVICES.glob("*.json")):
        written = json.loads(path.read_text())
        by_version = written if written.keys() <= set(VERSIONS) else dict.fromkeys(VERSIONS, written)
        for version in VERSIONS:
            for case, reason in by_version.get(version, {}).items():
                found.setdefault((path.stem, case, reason), []).append(version)
    services = [(service, case, ", ".join(of), reason) for (service, case, reason), of in sorted(found.items())]
    return services + _api_rows()


def _api_rows() -> list[tuple[str, str, str, str]]:
    found: dict[tuple[str, str], list[str]] = {}
    for version, written in DEPARTURES.items():
        for case, reason in written.items():
            found.setdefault((case, reason), []).append(version)
    return [(API, case, ", ".join(versions), reason) for (case, reason), versions in sorted(found.items())]


def document() -> str:
    """The whole page."""
    cells = ([f"`{service}`" if service != API else API, f"`{case}`", *rest] for service, case, *rest in rows())
    return _HEAD + "".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |\n" for row in cells)


if __name__ == "__main__":
    DOCUMENT.write_text(document())
