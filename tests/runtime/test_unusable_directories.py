"""A folder that cannot be read or used: refused by name, and nothing beside it is touched."""

import json
import os
import pickle
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

from sidecar.runtime.catalog import BUILT_IN, Catalog
from sidecar.runtime.config import Lane, Precision, RuntimeConfig
from sidecar.runtime.directory import ModelDirectory
from sidecar.runtime.errors import ModelError, UnusableModelError
from sidecar.runtime.loading import load_engine
from sidecar.runtime.models import LocalModels
from tests.runtime.tiny import HIDDEN, TinyModel

_ENCODER = ("Transformer", "")
_POOLING = ("Pooling", "1_Pooling")
_POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n"


def with_modules(*steps: tuple[str, str]) -> Callable[[TinyModel], None]:
    return lambda tiny: tiny.modules(*steps)


def with_file(name: str, value: object) -> Callable[[TinyModel], None]:
    return lambda tiny: tiny.json(name, value)


def with_files(*changes: Callable[[TinyModel], object]) -> Callable[[TinyModel], None]:
    def change(tiny: TinyModel) -> None:
        for each in changes:
            each(tiny)

    return change


def architecture(*names: str) -> Callable[[TinyModel], None]:
    """Names of the classes whose weights were saved."""

    def change(tiny: TinyModel) -> None:
        file = tiny.path / "config.json"
        tiny.json("config.json", json.loads(file.read_text()) | {"architectures": names})

    return change


def reshaped(tiny: TinyModel, axis: int, size: int) -> None:
    """Gives one dimension of the graph's inputs a fixed size, as an export without dynamic axes does."""
    model = onnx.load(tiny.path / "model.onnx")
    for value in model.graph.input:
        value.type.tensor_type.shape.dim[axis].dim_value = size
    onnx.save(model, tiny.path / "model.onnx")


def with_dense(config: dict[str, object], shape: tuple[int, int] = (2, HIDDEN)) -> Callable[[TinyModel], None]:
    def change(tiny: TinyModel) -> None:
        tiny.modules(_ENCODER, _POOLING, ("Dense", "2_Dense"))
        tiny.json("2_Dense/config.json", config)
        weight = np.ones(shape, np.float32)
        tiny.tensors("2_Dense", linear__weight=weight, linear__bias=np.ones(len(weight), np.float32))

    return change


class _Command:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, ("ran",)


def pickled(tiny: TinyModel) -> None:
    """Weights that would make a directory, were they loaded as any pickle is."""
    tiny.modules(_ENCODER, _POOLING, ("Dense", "2_Dense"))
    tiny.json("2_Dense/config.json", {})
    with zipfile.ZipFile(tiny.path / "2_Dense" / "pytorch_model.bin", "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({"linear.weight": _Command()}))


def routed(query: list[str], document: list[str], **more: object) -> Callable[[TinyModel], None]:
    def change(tiny: TinyModel) -> None:
        tiny.modules(("Router", ""))
        types = {name: f"sentence_transformers.models.{name.rpartition('_')[2]}" for name in (*query, *document)}
        tiny.json("router_config.json", {"types": types, "structure": {"query": query, "document": document}} | more)

    return change


REFUSED: dict[str, tuple[Callable[[TinyModel], object], str]] = {
    "a module of its own code": (
        lambda tiny: tiny.modules(("Transformer", ""), library="custom_st"),
        r"\[custom_st\.Transformer\], which is code of its own and is not run",
    ),
    "an unknown module": (
        with_modules(_ENCODER, _POOLING, ("Foo", "2_Foo"), ("Normalize", "3_Normalize")),
        r"has the module \[Foo\], which is not supported",
    ),
    "a module that weighs words": (with_modules(_ENCODER, ("WordWeights", "1_W"), _POOLING), r"module \[WordWeights\]"),
    "a sparse autoencoder": (
        with_modules(_ENCODER, _POOLING, ("SparseAutoEncoder", "2_S")),
        r"module \[SparseAutoEncoder\]",
    ),
    "a static embedding": (with_modules(("StaticEmbedding", "")), r"module \[StaticEmbedding\]"),
    "no encoder": (with_modules(_POOLING), r"begins with the module \[Pooling\] where a Transformer belongs"),
    "no modules": (with_modules(), r"lists no module"),
    "no pooling": (with_modules(_ENCODER), r"has no \[Pooling\] after its Transformer"),
    "a layer before the pooling": (with_modules(_ENCODER, ("Dense", "1_D"), _POOLING), r"\[Dense\] before Pooling"),
    "pooling twice": (with_modules(_ENCODER, _POOLING, _POOLING), r"\[Pooling\] after Pooling"),
    "modules that are no list": (
        with_file("modules.json", {"a": 1}),
        r"\[modules\.json\].* is not a list of JSON objects",
    ),
    "a pooling whose folder was left out": (
        with_files(with_modules(_ENCODER, _POOLING), lambda tiny: shutil.rmtree(tiny.path / "1_Pooling")),
        r"\[1_Pooling/config\.json\].*, which Pooling needs, does not exist",
    ),
    "a SPLADE pooling whose folder was left out": (
        with_files(
            lambda tiny: tiny.masked_language_model(),
            with_modules(_ENCODER, ("SpladePooling", "1_S")),
            lambda tiny: shutil.rmtree(tiny.path / "1_S"),
        ),
        r"\[1_S/config\.json\].*, which SpladePooling needs, does not exist",
    ),
    "a path out of the directory": (
        with_modules(_ENCODER, ("Pooling", "../1_Pooling")),
        r"names a file outside of it: \[\.\./1_Pooling/config\.json\]",
    ),
    "an unknown pooling mode": (
        with_file("1_Pooling/config.json", {"pooling_mode": ["cls", "median"]}),
        r"pools by \[median\], which is not supported",
    ),
    "an unknown pooling flag": (
        with_file("1_Pooling/config.json", {"pooling_mode_median_tokens": True}),
        r"pools by \[pooling_mode_median_tokens\]",
    ),
    "a layer without weights": (
        with_modules(_ENCODER, _POOLING, ("LayerNorm", "2_L")),
        r"\[2_L/model\.safetensors\].* does not exist",
    ),
    "a pickle that is more than weights": (
        pickled,
        r"\[2_Dense/pytorch_model\.bin\].* is not readable: it names \[posix\.mkdir\], which is no part of a tensor",
    ),
    "an unknown activation": (
        with_dense({"activation_function": "torch.nn.modules.activation.Hardswish"}),
        r"activation \[torch\.nn\.modules\.activation\.Hardswish\], which is not supported",
    ),
    "an activation of its own code": (with_dense({"activation_function": "mine.Tanh"}), r"activation \[mine\.Tanh\]"),
    "a layer of another size": (with_dense({}, (2, 7)), r"Dense for vectors of 7, which follows vectors of 4"),
    "a layer whose configuration was left out": (
        with_files(with_dense({}), lambda tiny: (tiny.path / "2_Dense" / "config.json").unlink()),
        r"\[2_Dense/config\.json\].*, which Dense needs, does not exist",
    ),
    "a layer of another size than it says": (
        with_dense({"in_features": HIDDEN, "out_features": 3}),
        r"\[2_Dense\].* has \[linear\.weight\] of 2 x 4 where 3 x 4 belongs",
    ),
    "a bias of another size": (
        with_files(
            with_dense({}),
            lambda tiny: tiny.tensors(
                "2_Dense", linear__weight=np.ones((2, HIDDEN), np.float32), linear__bias=np.ones(3, np.float32)
            ),
        ),
        r"\[2_Dense\].* has \[linear\.bias\] of 3 where 2 belongs",
    ),
    "a normalisation of two sizes": (
        with_files(
            with_modules(_ENCODER, _POOLING, ("LayerNorm", "2_L")),
            lambda tiny: tiny.tensors("2_L", norm__weight=np.ones(4, np.float32), norm__bias=np.ones(1, np.float32)),
        ),
        r"\[2_L\].* has \[norm\.bias\] of 1 where 4 belongs",
    ),
    "vectors cut to nothing": (
        with_file("config_sentence_transformers.json", {"truncate_dim": -1}),
        r"cuts vectors to \[-1\] numbers \(\[truncate_dim\]\)",
    ),
    "a graph for texts of one length": (
        lambda tiny: reshaped(tiny, 1, 8),
        r"takes texts of one number and length only: \[\('input_ids', \[None, 8\]\).* export it with dynamic axes",
    ),
    "a graph for one text at a time": (lambda tiny: reshaped(tiny, 0, 1), r"\('input_ids', \[1, None\]\)"),
    "a layer for tokens": (
        with_dense({"module_input_name": "token_embeddings"}),
        r"turns \[token_embeddings\] into \[token_embeddings\], which is not supported",
    ),
    "an encoder for a sparse head": (
        with_modules(_ENCODER, ("SpladePooling", "1_S")),
        r"has the module \[SpladePooling\], but its graph gives \[last_hidden_state\].*\[fill-mask\]",
    ),
    "a router for dense vectors": (
        routed(["q_Transformer"], ["d_Transformer"]),
        r"routes queries through \[Transformer\]; only SparseStaticEmbedding is supported",
    ),
    "a router by modality": (
        routed(["q_SparseStaticEmbedding"], [""], parameters={"route_mappings": {"('query', 'text')": "query"}}),
        r"has \[route_mappings\], which are not supported",
    ),
    "an asymmetric model of old": (with_modules(_ENCODER, _POOLING, ("Asym", "2_A")), r"module \[Asym\]"),
    "a text for a number": (
        lambda tiny: tiny.encoder(pad_token_id="<pad>"),
        r'\[config\.json\].* has "<pad>" as \[pad_token_id\], where a whole number belongs',
    ),
    "a number for a text": (
        with_file("config_sentence_transformers.json", {"prompts": {"query": 7}}),
        r"\[prompts\] of \[config_sentence_transformers\.json\].* has 7 as \[query\], where a text belongs",
    ),
    "a default prompt that is not there": (
        with_file("config_sentence_transformers.json", {"prompts": {"query": "Q "}, "default_prompt_name": "d"}),
        r"has no prompt \[d\], which it names as its default",
    ),
    "normalised tokens": (
        with_files(
            lambda tiny: tiny.modules(_ENCODER, _POOLING, ("Normalize", "2_N")),
            with_file("2_N/config.json", {"module_input_name": "token_embeddings"}),
        ),
        r"\[2_N/config\.json\].* turns \[token_embeddings\] into \[token_embeddings\]",
    ),
    "chat messages": (
        with_file("sentence_bert_config.json", {"modality_config": {"text": {}, "message": {"format": "flat"}}}),
        r"puts texts into chat messages, which is not supported",
    ),
    "pictures": (
        with_file("sentence_bert_config.json", {"modality_config": {"image": {}}}),
        r"reads \['image'\] and no text",
    ),
    "another output of the model": (
        with_file("sentence_bert_config.json", {"modality_config": {"text": {"method_output_name": "pooler_output"}}}),
        r"takes \[pooler_output\] of the model, which is not supported",
    ),
    "a graph that pools what should be left out": (
        with_files(
            lambda tiny: tiny.encoder(output="sentence_embedding", shape=["batch", HIDDEN]),
            lambda tiny: tiny.modules(_ENCODER, _POOLING),
            with_file("1_Pooling/config.json", {"include_prompt": False}),
        ),
        r"leaves prompts out of its pooling \(\[include_prompt\]\).* export it with its token vectors",
    ),
    "a length by task": (
        with_file("sentence_bert_config.json", {"query_length": 32}),
        r"sets \[query_length\], which is not supported",
    ),
    "not a length": (
        with_file("sentence_bert_config.json", {"max_seq_length": "long"}),
        r'has "long" as \[max_seq_length\], where a whole number belongs',
    ),
    "a classifier without its head": (
        lambda tiny: tiny.encoder(architectures=["XLMRobertaForSequenceClassification"], num_labels=1),
        r"is a sequence classifier by \[config\.json\], but its graph gives \[last_hidden_state\].*"
        r"\[text-classification\]",
    ),
    "a vocabulary head on a classifier": (
        with_files(
            lambda tiny: tiny.masked_language_model(),
            architecture("XLMRobertaForSequenceClassification"),
        ),
        r"is a sequence classifier by \[config\.json\], but its graph gives \[logits\] over the vocabulary; "
        r"export it with the task \[text-classification\]",
    ),
    "a vocabulary head on an encoder": (
        with_files(lambda tiny: tiny.masked_language_model(), architecture("BertModel")),
        r"is an encoder without a head by \[config\.json\], but its graph gives \[logits\] over the vocabulary; "
        r"export it with the task \[feature-extraction\]",
    ),
    "a classifier's head on a masked language model": (
        with_files(lambda tiny: tiny.classifier(), architecture("DistilBertForMaskedLM")),
        r"is a masked language model by \[config\.json\], but its graph gives \[logits\] of a classifier; "
        r"export it with the task \[fill-mask\]",
    ),
    "a Git LFS pointer": (
        lambda tiny: (tiny.path / "model.onnx").write_text(_POINTER),
        r"\[model\.onnx\] is a Git LFS pointer and not the file itself",
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_not_applied_is_refused_by_name(tmp_path: Path, what: str) -> None:
    change, words = REFUSED[what]
    tiny = TinyModel(tmp_path)
    tiny.encoder()
    change(tiny)
    with pytest.raises(UnusableModelError, match=words) as caught:
        ModelDirectory.read(tmp_path)
    assert caught.value.status == 400


def external(tiny: TinyModel, *, sparse: bool = False) -> Path:
    """Moves a model's weights into a file beside its graph, which is returned."""
    tiny.masked_language_model() if sparse else tiny.encoder()
    graph, data = tiny.path / "model.onnx", tiny.path / "model.onnx_data"
    data.unlink(missing_ok=True)
    onnx.save(onnx.load(graph), graph, save_as_external_data=True, location="model.onnx_data", size_threshold=0)
    return data


@pytest.mark.parametrize("sparse", [False, True])
def test_external_data_that_is_not_there_is_named(tmp_path: Path, sparse: bool) -> None:
    data = external(TinyModel(tmp_path), sparse=sparse)
    whole = data.read_bytes()
    ModelDirectory.read(tmp_path)
    data.write_bytes(whole[:-1])
    with pytest.raises(UnusableModelError, match=r"\[model\.onnx_data\], in which \[model\.onnx\] keeps .*, is cut"):
        ModelDirectory.read(tmp_path)
    data.write_text(_POINTER)
    with pytest.raises(UnusableModelError, match=r"\[model\.onnx_data\] is a Git LFS pointer"):
        ModelDirectory.read(tmp_path)
    data.unlink()
    with pytest.raises(UnusableModelError, match=r"keeps weights in \[model\.onnx_data\], which does not exist"):
        ModelDirectory.read(tmp_path)


def test_a_retrained_model_has_another_revision_though_its_graph_is_the_same(tmp_path: Path) -> None:
    tiny = TinyModel(tmp_path)
    data = external(tiny)
    graph, before = (tmp_path / "model.onnx").read_bytes(), ModelDirectory.read(tmp_path).revision()
    tiny.embedding[6, 0] += 1
    assert external(tiny) == data
    assert (tmp_path / "model.onnx").read_bytes() == graph
    assert ModelDirectory.read(tmp_path).revision() != before


def test_every_file_that_decides_a_vector_decides_the_revision(tmp_path: Path) -> None:
    tiny = TinyModel(tmp_path)
    tiny.encoder()
    tiny.modules(_ENCODER, _POOLING, ("Dense", "2_Dense"))
    tiny.json("1_Pooling/config.json", {"pooling_mode": "mean"})
    tiny.json("2_Dense/config.json", {})
    weight = np.ones((2, HIDDEN), np.float32)
    tiny.tensors("2_Dense", linear__weight=weight, linear__bias=weight[:, 0])
    seen = [ModelDirectory.read(tmp_path).revision()]
    assert seen == [ModelDirectory.read(tmp_path).revision()]
    tiny.tensors("2_Dense", linear__weight=weight * 2, linear__bias=weight[:, 0])
    seen.append(ModelDirectory.read(tmp_path).revision())
    tiny.json("2_Dense/config.json", {"activation_function": "torch.nn.modules.linear.Identity"})
    seen.append(ModelDirectory.read(tmp_path).revision())
    tiny.json("1_Pooling/config.json", {"pooling_mode": "max"})
    seen.append(ModelDirectory.read(tmp_path).revision())
    tiny.json("sentence_bert_config.json", {"do_lower_case": True})
    seen.append(ModelDirectory.read(tmp_path).revision())
    seen.append(ModelDirectory.read(tmp_path, dimensions=1).revision())
    assert len(set(seen)) == len(seen)


def test_weights_of_a_module_in_any_folder_decide_the_revision(tmp_path: Path) -> None:
    tiny = TinyModel(tmp_path)
    tiny.encoder()
    tiny.modules(_ENCODER, _POOLING, ("Dense", "steps/last"))
    tiny.json("1_Pooling/config.json", {"pooling_mode": "mean"})
    tiny.json("steps/last/config.json", {"in_features": HIDDEN, "out_features": 2})
    weight = np.ones((2, HIDDEN), np.float32)
    seen = set()
    for factor in (1, 2):
        tiny.tensors("steps/last", linear__weight=weight * factor, linear__bias=weight[:, 0])
        seen.add(ModelDirectory.read(tmp_path).revision())
    tiny.json("steps/last/config.json", {"activation_function": "torch.nn.modules.linear.Identity"})
    seen.add(ModelDirectory.read(tmp_path).revision())
    assert len(seen) == 3


@pytest.mark.parametrize("place", ["1_Pooling", ".pooling", "a/b"])
@pytest.mark.parametrize("linked", [False, True])
def test_what_is_read_decides_the_revision_wherever_it_lies(tmp_path: Path, place: str, linked: bool) -> None:
    tiny = TinyModel(tmp_path / "model")
    tiny.encoder()
    folder = tmp_path / "model" / place
    if linked:
        folder.parent.mkdir(exist_ok=True)
        (tmp_path / "elsewhere").mkdir()
        folder.symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    tiny.modules(_ENCODER, ("Pooling", place))
    seen = set()
    for mode in ("cls", "mean"):
        tiny.json(f"{place}/config.json", {"pooling_mode": mode})
        directory = ModelDirectory.read(tiny.path)
        assert directory.pooling is not None
        assert [pooled.value for pooled in directory.pooling.modes] == [mode]
        seen.add(directory.revision())
    assert len(seen) == 2


def test_weights_of_a_layer_beside_the_graph_decide_the_revision(tmp_path: Path) -> None:
    tiny = TinyModel(tmp_path)
    tiny.encoder()
    tiny.modules(_ENCODER, _POOLING, ("Dense", ""))
    seen = set()
    for factor in (1, 2):
        tiny.tensors("", linear__weight=np.full((2, HIDDEN), factor, np.float32), linear__bias=np.ones(2, np.float32))
        seen.add(ModelDirectory.read(tmp_path).revision())
    assert len(seen) == 2


def test_links_and_folders_that_are_no_part_of_a_model_spoil_nothing(tmp_path: Path) -> None:
    tiny = TinyModel(tmp_path)
    tiny.encoder()
    before = ModelDirectory.read(tmp_path).revision()
    (tmp_path / "notes.json").mkdir()
    (tmp_path / "gone.json").symlink_to(tmp_path / "nowhere")
    (tmp_path / "itself").symlink_to(tmp_path, target_is_directory=True)
    assert ModelDirectory.read(tmp_path).revision() == before


@pytest.mark.parametrize("value", ['"x"', "true", "NaN", "Infinity", "1e39", "9" * 400])
def test_weights_of_queries_that_are_no_numbers_are_refused(tmp_path: Path, value: str) -> None:
    TinyModel(tmp_path).masked_language_model()
    (tmp_path / "idf.json").write_text(f'{{"red": 1.5, "green": {value}}}')
    with pytest.raises(UnusableModelError, match=r"\[idf\.json\].* is not a map from tokens to weights"):
        load_engine(ModelDirectory.read(tmp_path), exact=True)


@pytest.mark.parametrize("kind", [TinyModel.encoder, TinyModel.masked_language_model, TinyModel.classifier])
def test_a_limit_below_the_special_tokens_is_refused(tmp_path: Path, kind: Callable[[TinyModel], Path]) -> None:
    tiny = TinyModel(tmp_path)
    kind(tiny)
    tiny.json("sentence_bert_config.json", {"max_seq_length": 1})
    with pytest.raises(UnusableModelError, match=r"reads \[1\] tokens of a text, fewer than the \[2\] around it"):
        load_engine(ModelDirectory.read(tmp_path), exact=True)


def test_whatever_goes_wrong_with_a_load_names_the_directory(tmp_path: Path) -> None:
    tiny = TinyModel(tmp_path)
    tiny.masked_language_model()
    directory = ModelDirectory.read(tmp_path)
    with pytest.raises(UnusableModelError, match=rf"\[{tmp_path}\] cannot be used: TypeError: ") as caught:
        load_engine(replace(directory, dimensions="many"), exact=True)  # type: ignore[arg-type]
    assert caught.value.status == 400


async def test_the_precision_of_the_vocabulary_head_decides_the_revision() -> None:
    found = {}
    for precision in (Precision.EXACT, Precision.INT8):
        models = LocalModels(RuntimeConfig(precision={"*": precision}))
        (weights,) = await models.sparse("splade-tiny", ["whales sing in the deep sea"], lane=Lane.INGEST)
        found[precision] = (models.resolve("splade-tiny").revision, weights.tokens)
        await models.close()
    default = LocalModels(RuntimeConfig()).resolve("splade-tiny").revision
    exact, int8 = found.values()
    assert exact[1] != int8[1]
    assert default == exact[0] != int8[0]


def test_prompts_that_come_from_the_name_decide_the_revision(tmp_path: Path) -> None:
    read = {}
    for name in ("e5-small", "mine"):
        tiny = TinyModel(tmp_path / name)
        tiny.encoder()
        read[name] = ModelDirectory.read(tiny.path)
    assert read["e5-small"].prompts != read["mine"].prompts
    assert read["e5-small"].revision() != read["mine"].revision()


def test_a_changed_tensor_in_a_large_graph_changes_the_revision(tmp_path: Path) -> None:
    tiny = TinyModel(tmp_path)
    data = external(tiny)
    data.write_bytes(data.read_bytes().ljust(12 << 20, b"\0"))
    before = ModelDirectory.read(tmp_path).revision()
    with data.open("r+b") as file:
        file.seek(7_000_000)
        file.write(b"\1" * (64 << 10))
    assert ModelDirectory.read(tmp_path).revision() != before


async def test_unusable_folders_spoil_no_list(tmp_path: Path) -> None:
    TinyModel(tmp_path / "good").encoder()
    for number, (change, _) in enumerate(REFUSED.values()):
        tiny = TinyModel(tmp_path / f"bad-{number}")
        tiny.encoder()
        change(tiny)
    (tmp_path / "strange").mkdir()
    (tmp_path / "strange" / "tokenizer.json").mkdir()
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "gone").symlink_to(tmp_path / "nowhere")
    models = LocalModels(RuntimeConfig(models_dir=tmp_path))
    usable = [info.name for info in models.list()]
    assert [name for name in usable if name not in BUILT_IN and not name.startswith("bad-")] == ["good"]
    for name in Catalog(RuntimeConfig(models_dir=tmp_path)).names():
        if name not in usable:
            with pytest.raises(ModelError):
                models.resolve(name)
    await models.close()


_UNREADABLE = """
import sys
from pathlib import Path
from sidecar.runtime.catalog import Catalog
from sidecar.runtime.config import RuntimeConfig
catalog = Catalog(RuntimeConfig(models_dir=Path(sys.argv[1])))
print(catalog.names()[3:])
print(catalog.resolve("mine")[0].name)
try:
    catalog.resolve("closed")
except Exception as error:
    print(type(error).__name__)
"""


def test_a_folder_of_another_user_is_passed_over(tmp_path: Path) -> None:
    """As an ordinary user sees ``lost+found``; root lays the right to pass file modes down first."""
    TinyModel(tmp_path / "mine").encoder()
    TinyModel(tmp_path / "closed").encoder()
    (tmp_path / "lost+found" / "inner").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "lost+found" / "inner")
    command = [sys.executable, "-c", _UNREADABLE, str(tmp_path)]
    for name in ("lost+found", "closed"):
        (tmp_path / name).chmod(0)
    if os.geteuid() == 0:
        for name in ("lost+found", "closed"):
            os.chown(tmp_path / name, 65534, -1)
        dropped = "-dac_override,-dac_read_search"
        command = ["setpriv", f"--bounding-set={dropped}", f"--inh-caps={dropped}", *command]
    try:
        result = subprocess.run(command, capture_output=True, text=True, check=False)
    finally:
        for name in ("lost+found", "closed"):
            (tmp_path / name).chmod(0o700)
    lines = result.stdout.splitlines()
    assert lines[-3:] == ["['mine']", "mine", "UnknownModelError"], result.stderr
    assert sum("lost+found" in line for line in lines) <= 1, "one line in the log"
