"""How a text is cut and spelled before a model reads it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from sidecar.runtime.errors import UnusableModelError
from sidecar.runtime.json_files import JsonObject, ModelFiles

_DEFAULT = 512
_UNLIMITED = 1_000_000
"""Tokenizers without a limit name one of 1e30."""
# Tokenizers that set their normalizer anew. Source: transformers 4.57 and 5.24, ``BertTokenizer``.
_BERT = re.compile(r"(Bert|ConvBert|DistilBert|Electra|Funnel|LayoutLM|MobileBert|MPNet)Tokenizer(Fast)?")
_NORMALIZER = {
    "do_lower_case": "lowercase",
    "strip_accents": "strip_accents",
    "tokenize_chinese_chars": "handle_chinese_chars",
}
# Positions of these start after the padding id.
_SHIFTED = ("roberta", "camembert", "mpnet", "longformer", "xmod", "data2vec")
# Positions of these are relative: [n_positions] is no limit.
_RELATIVE = ("t5", "mt5", "umt5", "longt5", "switch_transformers")


@dataclass(frozen=True, slots=True)
class TokenLimits:
    """The longest input in word pieces, from which end a longer one loses, and whether capitals count."""

    max_length: int = _DEFAULT
    side: Literal["left", "right"] = "right"
    lower_case: bool = False
    """Whether texts are put in small letters before anything else (``sentence_bert_config.json``)."""
    bert_normalizer: Mapping[str, bool] = field(default_factory=dict)
    """Settings of BERT's normalizer that ``tokenizer_config.json`` states, which come before ``tokenizer.json``'s."""

    @classmethod
    def read(cls, files: ModelFiles, config: JsonObject, settings: JsonObject) -> TokenLimits:
        """Limits of a model.

        The length the model was trained for (``max_seq_length``) comes first, then the tokenizer's; never more than
        there are positions. Raises ``UnusableModelError``.

        Args:
            files: of the Transformer module.
            config: its ``config.json``.
            settings: its ``sentence_bert_config.json``.
        """
        for key in ("query_length", "document_length", "query_expansion"):
            if settings.values.get(key) is not None:
                raise UnusableModelError(f"{settings.where} sets [{key}], which is not supported")
        tokenizer = files.object("tokenizer_config.json")
        given = settings.object("processor_kwargs") or settings.object("tokenizer_args")
        written = (
            settings.integer("max_seq_length")
            or given.integer("model_max_length")
            or tokenizer.integer("model_max_length")
        )
        limits = [limit for limit in (_positions(config), written) if limit and 0 < limit < _UNLIMITED]
        side = given.text("truncation_side") or tokenizer.text("truncation_side", "right")
        if side not in ("left", "right"):
            raise UnusableModelError(f"{tokenizer.where} has the truncation side [{side}]; left and right are known")
        return cls(
            max_length=min(limits) if limits else _DEFAULT,
            side="left" if side == "left" else "right",
            lower_case=settings.flag("do_lower_case"),
            bert_normalizer=_bert_normalizer(tokenizer),
        )


def _bert_normalizer(tokenizer: JsonObject) -> Mapping[str, bool]:
    """What BERT's tokenizers take from their configuration, by the names of the tokenizers library."""
    if not _BERT.fullmatch(tokenizer.text("tokenizer_class")):
        return {}
    return {ours: tokenizer.flag(key) for key, ours in _NORMALIZER.items() if tokenizer.values.get(key) is not None}


def _positions(config: JsonObject) -> int | None:
    """Most word pieces that there are positions for."""
    kind = config.text("model_type")
    positions = config.integer("max_position_embeddings")
    if positions is None and kind not in _RELATIVE:
        positions = config.integer("n_positions")
    if positions and any(name in kind for name in _SHIFTED):
        positions -= (config.integer("pad_token_id", 1) or 0) + 1
    return positions
