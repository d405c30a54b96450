"""The passages and the judged questions of ``demo/corpus``."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "corpus"


@dataclass(frozen=True)
class Passage:
    id: str
    title: str
    text: str
    topic: str


@dataclass(frozen=True)
class Question:
    """``judgements`` maps passage ids to grades 1 to 3; all others have grade 0."""

    id: str
    text: str
    kind: str
    judgements: dict[str, int]


def passages(folder: Path = FOLDER) -> list[Passage]:
    return [Passage(**line) for line in _lines(folder / "passages.jsonl")]


def questions(folder: Path = FOLDER) -> list[Question]:
    return [Question(**line) for line in _lines(folder / "questions.jsonl")]


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            if line.strip():
                yield json.loads(line)
