"""The table of model folders in docs/models.md names every layout that was recorded."""

import json
import re
import tarfile

from tools.model_layouts import ARCHIVES, BEGIN, DOCUMENT, END, Row, table


def test_every_recorded_layout_has_its_row() -> None:
    rows: dict[str, Row] = {}
    for archive in ARCHIVES:
        with tarfile.open(archive) as source:
            file = source.extractfile("expected.json")
            assert file is not None
            recorded = json.load(file)
        for name in recorded["models"]:
            rows.setdefault(name, Row()).releases.append(recorded["release"])
    written = DOCUMENT.read_text().split(BEGIN)[1].split(END)[0]
    expected, present = (
        re.findall(r"^\| ([^|]+) \| ([^|]*\d[^|]*) \|", text, re.MULTILINE) for text in (table(rows), written)
    )
    assert len(rows) == len(expected)
    assert present == expected, "renew the table in docs/models.md with: make tables"
    differences = [float(row.split("|")[-2]) for row in written.strip().splitlines()[2:]]
    assert max(differences) < 1e-5
