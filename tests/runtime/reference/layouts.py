"""Writes small random models as sentence-transformers saves them, with the values that it computes itself.

    make reference                    # in environments of their own, for each release
    python layouts.py ARCHIVE         # what it runs there

The archive (tar, xz) holds a folder for each model, its weights as an ONNX graph alone, and ``expected.json`` with the
values. ``test_reference_layouts`` plays it.
"""

from __future__ import annotations

import json
import re
import sys
import tarfile
import tempfile
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import sentence_transformers
import torch
import transformers
from sentence_transformers import CrossEncoder, SentenceTransformer
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

warnings.filterwarnings("ignore")
transformers.logging.set_verbosity_error()
transformers.utils.logging.disable_progress_bar()

RELEASE = int(sentence_transformers.__version__.split(".")[0])
if RELEASE >= 6:
    from sentence_transformers.sentence_transformer.modules import Dense, LayerNorm, Normalize, Pooling, Transformer
else:
    from sentence_transformers.models import Dense, LayerNorm, Normalize, Pooling, Transformer

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
TEXT = ["whales", "sing", "under", "water", "in", "the", "ferry", "sails", "at", "seven", "query", "passage", ":", "."]
WORDS = [*SPECIAL, *TEXT]
HIDDEN, LENGTH = 16, 32
MODULES = re.compile(r"_(Dense|LayerNorm|SparseStaticEmbedding)$")
"""Folders whose weights are not in the graph."""
TEXTS = ["whales sing under water", "The ferry sails at seven .", "whales", "WHALES sing : unknown " + "at seven " * 20]
PAIRS = [("whales sing", "under water"), ("the ferry", "sails at seven in the water")]


_Files = dict[str, dict[str, Any]]


class Inputs(torch.nn.Module):  # type: ignore[misc]
    """A model with its inputs in the order of the graph, and one output."""

    def __init__(self, model: Any, names: list[str], output: str) -> None:
        super().__init__()
        self.model, self.names, self.output = model, names, output

    def forward(self, *values: Any) -> Any:
        result = self.model(**dict(zip(self.names, values, strict=True)))
        return result.logits if self.output == "logits" else result.last_hidden_state


def tokenizer(folder: Path, *, lower: bool, segments: bool) -> None:
    words = Tokenizer(models.WordLevel({word: n for n, word in enumerate(WORDS)}, unk_token="[UNK]"))
    if lower:
        words.normalizer = normalizers.Lowercase()
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    words.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    fast = transformers.PreTrainedTokenizerFast(
        tokenizer_object=words,
        model_max_length=LENGTH,
        unk_token="[UNK]",
        pad_token="[PAD]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
        model_input_names=["input_ids", *(["token_type_ids"] if segments else []), "attention_mask"],
    )
    fast.save_pretrained(folder)


def base(folder: Path, family: str = "bert", head: str = "", *, lower: bool = True) -> Path:
    """A random model of a family with its tokenizer; ``head`` is empty, ``mlm`` or ``classifier``."""
    small: dict[str, Any] = {"vocab_size": len(WORDS), "pad_token_id": 0, "attn_implementation": "eager"}
    bert = small | {"hidden_size": HIDDEN, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    t = transformers
    config, model = {
        "bert": lambda: (t.BertConfig(**bert, max_position_embeddings=64, num_labels=1), t.BertModel),
        "roberta": lambda: (t.RobertaConfig(**bert, max_position_embeddings=64), t.RobertaModel),
        "distilbert": lambda: (
            t.DistilBertConfig(**small, dim=HIDDEN, n_layers=2, n_heads=2, hidden_dim=32, max_position_embeddings=64),
            t.DistilBertModel,
        ),
        "t5": lambda: (
            t.T5Config(**small, d_model=HIDDEN, d_kv=8, d_ff=32, num_layers=2, num_heads=2),
            t.T5EncoderModel,
        ),
        "modernbert": lambda: (
            t.ModernBertConfig(**bert, max_position_embeddings=64, local_attention=8, global_attn_every_n_layers=2),
            t.ModernBertModel,
        ),
    }[family]()
    model = {"mlm": t.BertForMaskedLM, "classifier": t.BertForSequenceClassification}.get(head, model)
    torch.manual_seed(7)
    made = model(config)
    with torch.no_grad():
        for parameter in made.parameters():  # far from the tiny values that models begin with
            parameter.add_(torch.randn_like(parameter) * 0.3)
    made.save_pretrained(folder)
    tokenizer(folder, lower=lower, segments=family == "bert")
    return folder


def export(model: Any, file: Path, output: str) -> None:
    """Writes the graph of a transformer."""
    names = ["input_ids", "attention_mask"]
    if model.config.model_type == "bert":
        names.append("token_type_ids")
    ids = torch.tensor([[2, 5, 6, 7, 3], [2, 8, 3, 0, 0]])
    values = {"input_ids": ids, "attention_mask": (ids > 0).long(), "token_type_ids": torch.zeros_like(ids)}
    file.parent.mkdir(parents=True, exist_ok=True)
    torch.onnx.export(
        Inputs(model, names, output).eval(),
        tuple(values[name] for name in names),
        str(file),
        input_names=names,
        output_names=[output],
        dynamic_axes={name: {0: "batch", 1: "sequence"} for name in names} | {output: {0: "batch"}}
        if model.config.num_labels == 1 and output == "logits" and "Sequence" in type(model).__name__
        else {name: {0: "batch", 1: "sequence"} for name in [*names, output]},
        opset_version=17,
        dynamo=False,
    )


class Layouts:
    """The models under ``root``, and the values of each."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.expected: dict[str, dict[str, Any]] = {}
        self._bases: dict[tuple[str, str, bool], Path] = {}

    def base(self, family: str = "bert", head: str = "", *, lower: bool = True) -> str:
        key = (family, head, lower)
        if key not in self._bases:
            self._bases[key] = base(self.root / ".bases" / f"{family}-{head}-{lower}", family, head, lower=lower)
        return str(self._bases[key])

    def dense(
        self, name: str, modules: Callable[[], list[Any]], files: dict[str, Any] | None = None, **more: Any
    ) -> None:
        """A dense model; ``files`` are changed after saving, and the model is loaded again."""
        folder = self.root / name
        safe = not name.endswith("-pickled")
        made = SentenceTransformer(modules=modules(), device="cpu", **more)
        made.save_pretrained(str(folder), safe_serialization=safe)
        for file, values in (files or {}).items():
            present = json.loads((folder / file).read_text()) if (folder / file).exists() else {}
            (folder / file).write_text(json.dumps(present | values))
        model = SentenceTransformer(str(folder), device="cpu", model_kwargs={"attn_implementation": "eager"})
        if cut := (files or {}).get("config_sentence_transformers.json", {}).get("truncate_dim"):
            model.truncate_dim = cut  # releases before 6 take it as an argument alone
        export(
            model[0].auto_model.eval(),
            folder / ("onnx/model.onnx" if RELEASE >= 6 else "model.onnx"),
            "last_hidden_state",
        )
        prompts = model.prompts or {}
        if RELEASE >= 5:
            query, document = model.encode_query(TEXTS), model.encode_document(TEXTS)
        else:
            query = model.encode(TEXTS, prompt=prompts.get("query"))
            document = model.encode(
                TEXTS, prompt=next((prompts[k] for k in ("document", "passage") if k in prompts), None)
            )
        values = {"query": query, "document": document, "plain": model.encode(TEXTS)}
        self.expected[name] = {"kind": "dense"} | {key: value.tolist() for key, value in values.items()}

    def sparse(self, name: str, modules: Callable[[], list[Any]]) -> None:
        from sentence_transformers import SparseEncoder

        folder = self.root / name
        SparseEncoder(modules=modules(), device="cpu").save_pretrained(str(folder))
        model = SparseEncoder(str(folder), device="cpu", model_kwargs={"attn_implementation": "eager"})
        self.expected[name] = {"kind": "sparse"}
        for key, encode in (("query", model.encode_query), ("document", model.encode_document)):
            rows = encode(TEXTS, convert_to_sparse_tensor=False).cpu().tolist()
            self.expected[name][key] = [
                {WORDS[n]: weight for n, weight in enumerate(row) if weight > 0 and n > 4} for row in rows
            ]
        encoder = model[0] if hasattr(model[0], "auto_model") else model[0].sub_modules["document"][0]
        export(encoder.auto_model.eval(), folder / "onnx" / "model.onnx", "logits")

    def classifier(self, name: str) -> None:
        folder = self.root / name
        CrossEncoder(self.base(head="classifier"), num_labels=1, device="cpu").save_pretrained(str(folder))
        model = CrossEncoder(str(folder), device="cpu")
        export(model.model.eval(), folder / "model.onnx", "logits")
        raw: dict[str, Any] = {"activation_fn" if RELEASE >= 4 else "activation_fct": torch.nn.Identity()}
        scores = [float(score) for score in model.predict(PAIRS, **raw)]
        self.expected[name] = {"kind": "pairs", "pairs": PAIRS, "scores": scores}


def write(root: Path) -> None:
    made = Layouts(root)

    def encoder(family: str = "bert", **more: Any) -> Any:
        return Transformer(made.base(family, lower=not more.get("do_lower_case")), **more)

    def pooled(*modes: str, **more: Any) -> Any:
        return Pooling(HIDDEN, "mean" if not modes else modes if len(modes) > 1 else modes[0], **more)

    def pooled_by_flags(*modes: str) -> Any:
        return Pooling(HIDDEN, pooling_mode_mean_tokens=False, **{f"pooling_mode_{mode}": True for mode in modes})

    def by_mode(mode: str) -> list[Any]:
        return [encoder(), pooled(mode)]

    def by_family(family: str) -> list[Any]:
        return [encoder(family), pooled(), Normalize()]

    made.dense("mean-normalised", lambda: [encoder(), pooled(), Normalize()])
    for mode in ("cls", "max", "mean", "mean_sqrt_len_tokens", "weightedmean", "lasttoken"):
        made.dense(f"pooling-{mode}", partial(by_mode, mode))
    if RELEASE >= 6:
        made.dense("pooling-joined", lambda: [encoder(), pooled("mean", "cls")])
    else:
        made.dense("pooling-joined", lambda: [encoder(), pooled_by_flags("cls_token", "max_tokens", "lasttoken")])
    made.dense("dense-tanh", lambda: [encoder(), pooled(), Dense(HIDDEN, 8), Normalize()])
    if RELEASE < 5:
        made.dense("dense-pickled", lambda: [encoder(), pooled(), Dense(HIDDEN, 8), LayerNorm(8)])
    identity = torch.nn.Identity()
    made.dense(
        "dense-identity-layernorm",
        lambda: [encoder(), pooled(), Dense(HIDDEN, 8, bias=False, activation_function=identity), LayerNorm(8)],
    )
    made.dense("dense-gelu", lambda: [encoder(), pooled(), Dense(HIDDEN, 8, activation_function=torch.nn.GELU())])
    prompts = {"query": "query : ", "document": "passage : "}
    made.dense("prompts", lambda: [encoder(), pooled()], prompts=prompts)
    made.dense("prompts-default", lambda: [encoder(), pooled()], prompts=prompts, default_prompt_name="query")
    made.dense("prompts-excluded", lambda: [encoder(), pooled(include_prompt=False)], prompts=prompts)
    made.dense("lower-case", lambda: [encoder(do_lower_case=True), pooled()])
    made.dense("cased", lambda: [Transformer(made.base(lower=False)), pooled()])
    made.dense("length", lambda: [encoder(max_seq_length=6), pooled()])
    made.dense(
        "cut", lambda: [encoder(), pooled(), Normalize()], {"config_sentence_transformers.json": {"truncate_dim": 5}}
    )
    made.dense(
        "cut-left",
        lambda: [encoder(max_seq_length=6), pooled()],
        {"tokenizer_config.json": {"truncation_side": "left"}},
    )
    for family in ("distilbert", "roberta", "t5", "modernbert"):
        made.dense(family, partial(by_family, family))
    made.classifier("cross-encoder")
    if RELEASE >= 5:
        write_sparse(made)
    (root / "expected.json").write_text(
        json.dumps({"release": sentence_transformers.__version__, "texts": TEXTS, "models": made.expected})
    )


def write_sparse(made: Layouts) -> None:
    if RELEASE >= 6:
        from sentence_transformers.base.modules import Router
        from sentence_transformers.sparse_encoder.modules import MLMTransformer, SparseStaticEmbedding, SpladePooling
    else:
        from sentence_transformers.models import Router
        from sentence_transformers.sparse_encoder.models import MLMTransformer, SparseStaticEmbedding, SpladePooling

    def encoder() -> Any:
        if RELEASE >= 6:
            return Transformer(made.base(head="mlm"), transformer_task="fill-mask")
        return MLMTransformer(made.base(head="mlm"))

    for strategy in ("max", "sum"):
        for activation in ("relu", "log1p_relu"):

            def modules(strategy: str = strategy, activation: str = activation) -> list[Any]:
                return [encoder(), SpladePooling(pooling_strategy=strategy, activation_function=activation)]

            made.sparse(f"splade-{strategy}-{activation}", modules)

    def routed() -> list[Any]:
        document = encoder()
        torch.manual_seed(3)
        static = SparseStaticEmbedding(document.tokenizer, weight=torch.rand(len(WORDS)) * 4, frozen=True)
        pooling = SpladePooling(pooling_strategy="max", activation_function="log1p_relu")
        return [Router.for_query_document(query_modules=[static], document_modules=[document, pooling])]

    made.sparse("inference-free", routed)


def pack(root: Path, archive: Path) -> None:
    """All but what neither the sidecar nor a reader needs: the weights that the graph holds, and model cards."""

    def kept(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
        path = Path(entry.name)
        is_weight = path.name in ("model.safetensors", "pytorch_model.bin")
        if path.name in ("README.md", ".bases") or (is_weight and not MODULES.search(path.parent.name)):
            return None
        entry.mtime = entry.uid = entry.gid = 0
        entry.uname = entry.gname = ""
        return entry

    with tarfile.open(archive, "w:xz") as target:
        for path in sorted(root.iterdir()):
            target.add(path, path.name, filter=kept)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        write(Path(scratch))
        pack(Path(scratch), Path(sys.argv[1]))
