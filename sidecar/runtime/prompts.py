"""What stands before a text so that a model knows whether it is a query or a passage."""

from __future__ import annotations

import re
from dataclasses import dataclass

from sidecar.core.tasks import InputType
from sidecar.runtime.errors import UnusableModelError
from sidecar.runtime.json_files import JsonObject

# E5's model cards ask for these two, for classification and clustering "query: "; their directories rarely say so.
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
    def read(cls, config: JsonObject, names: str) -> Prompts:
        """Prompts of a model: those its configuration states, else those its family is known to need.

        A document's prompt is the first that is stated of ``document``, ``passage`` and ``corpus``, as in
        ``encode_document``; where a purpose has none, and where there is no purpose, that of ``default_prompt_name``.

        Raises:
            UnusableModelError: a prompt is no text, or the default is not among them.
        """
        stated = config.object("prompts")
        name = config.text("default_prompt_name")
        if name and name not in stated.values:
            raise UnusableModelError(f"{config.where} has no prompt [{name}], which it names as its default")
        if any(stated.values.values()):
            default = stated.text(name) if name else ""

            def of(*keys: str) -> str:
                return next((stated.text(key) for key in keys if key in stated.values), default)

            return cls(
                query=of("query"),
                passage=of("document", "passage", "corpus"),
                classification=of("classification"),
                clustering=of("clustering"),
                default=default,
            )
        if _E5.search(names):
            return cls("query: ", "passage: ", "query: ", "query: ")
        if _BGE_ENGLISH.search(names):
            return cls(query=_BGE_QUERY)
        return cls()

    def of(self, input_type: InputType | None) -> str:
        """The prompt for an input type; ``None`` and ``unspecified`` take the default, which few models name."""
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
