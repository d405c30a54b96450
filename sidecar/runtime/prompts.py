"""What stands before a text so that a model knows whether it is a query or a passage."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sidecar.core.tasks import InputType

# E5's model cards ask for these two, also for texts that are neither (then "query: "); their directories rarely say so.
_E5 = re.compile(r"e5-(small|base|large)(-unsupervised|-v2)?\b(?!.*instruct)", re.IGNORECASE)
_BGE_ENGLISH = re.compile(r"bge-(small|base|large)-en", re.IGNORECASE)
_BGE_QUERY = "Represent this sentence for searching relevant passages: "


@dataclass(frozen=True, slots=True)
class Prompts:
    """Prompts by purpose, as ``config_sentence_transformers.json`` names them; most models have none.

    Source: sentence-transformers documentation, "Prompt templates"; the model cards of E5 and BGE.
    """

    query: str = ""
    passage: str = ""
    classification: str = ""
    clustering: str = ""
    default: str = ""

    @classmethod
    def read(cls, config: Mapping[str, Any], names: str) -> Prompts:
        """Prompts of a model: those its configuration states, else those its family is known to need."""
        stated = config.get("prompts") or {}
        if any(stated.values()):
            query = str(stated.get("query", ""))
            passage = str(stated.get("passage", stated.get("document", "")))
            name = config.get("default_prompt_name")
            return cls(
                query=query,
                passage=passage,
                classification=str(stated.get("classification", "")),
                clustering=str(stated.get("clustering", "")),
                default=str(stated.get(name, "")) if name else passage,
            )
        if _E5.search(names):
            return cls("query: ", "passage: ", "query: ", "query: ", "passage: ")
        if _BGE_ENGLISH.search(names):
            return cls(query=_BGE_QUERY)
        return cls()

    def of(self, input_type: InputType | None) -> str:
        """The prompt for an input type; ``None`` and ``unspecified`` take the model's default."""
        match input_type.public if input_type else None:
            case InputType.SEARCH:
                return self.query
            case InputType.INGEST:
                return self.passage
            case InputType.CLASSIFICATION:
                return self.classification
            case InputType.CLUSTERING:
                return self.clustering
            case _:
                return self.default
