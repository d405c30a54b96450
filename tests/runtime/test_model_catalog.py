"""Finding models by name, alias and path."""

from pathlib import Path

import pytest

from sidecar.core.tasks import TaskType
from sidecar.runtime.catalog import Catalog, LocalModelInfo
from sidecar.runtime.config import Precision, RuntimeConfig
from sidecar.runtime.errors import UnknownModelError, UnusableModelError
from sidecar.runtime.recognition import ModelKind
from tests.runtime.tiny import TinyModel


def resolve(model_id: str, **settings: object) -> LocalModelInfo:
    return Catalog(RuntimeConfig(**settings)).resolve(model_id)[0]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("model_id", "name", "tasks"),
    [
        (".elser_model_1", "splade-tiny", {TaskType.SPARSE_EMBEDDING}),
        (".elser_model_2", "splade-tiny", {TaskType.SPARSE_EMBEDDING}),
        (".elser_model_2_linux-x86_64", "splade-tiny", {TaskType.SPARSE_EMBEDDING}),
        (".multilingual-e5-small", "bge-small-en-v1.5", {TaskType.TEXT_EMBEDDING}),
        (".multilingual-e5-small_linux-x86_64", "bge-small-en-v1.5", {TaskType.TEXT_EMBEDDING}),
        (".rerank-v1", "bge-small-en-v1.5", {TaskType.RERANK}),
    ],
)
def test_elasticsearch_names_say_who_answers(model_id: str, name: str, tasks: set[TaskType]) -> None:
    info = resolve(model_id)
    assert (info.model_id, info.name, set(info.tasks), info.is_alias) == (model_id, name, tasks, True)


@pytest.mark.parametrize(
    "model_id", ["all-MiniLM-L6-v2", "ALL-MINILM-L6-V2", "all-minilm-l6-v2", "sentence-transformers/all-MiniLM-L6-v2"]
)
def test_built_in_names_in_any_case(model_id: str) -> None:
    info = resolve(model_id)
    assert (info.name, info.dimensions, info.is_built_in) == ("all-MiniLM-L6-v2", 384, True)
    assert info.tasks == {TaskType.TEXT_EMBEDDING, TaskType.RERANK}
    assert info.licence == "Apache-2.0"
    assert info.source == "https://huggingface.co/sentence-transformers/all-MiniLM-L6-v2"


def test_the_models_directory(tmp_path: Path) -> None:
    TinyModel(tmp_path / "plain").encoder()
    TinyModel(tmp_path / "acme" / "Reranker").classifier()
    assert resolve("PLAIN", models_dir=tmp_path).kind is ModelKind.DENSE
    for model_id in ("acme/reranker", "reranker"):
        info = resolve(model_id, models_dir=tmp_path)
        assert (info.name, info.kind) == ("acme/Reranker", ModelKind.CROSS_ENCODER)
        assert not info.is_built_in
    assert Catalog(RuntimeConfig(models_dir=tmp_path)).names()[-2:] == ["acme/Reranker", "plain"]


def test_a_short_name_that_two_models_share_is_not_guessed(tmp_path: Path) -> None:
    TinyModel(tmp_path / "acme" / "same").encoder()
    TinyModel(tmp_path / "other" / "same").encoder()
    with pytest.raises(UnknownModelError, match="acme/same, "):
        resolve("same", models_dir=tmp_path)


def test_a_path(tmp_path: Path) -> None:
    path = TinyModel(tmp_path / "mine").encoder()
    assert resolve(str(path)).name == "mine"
    with pytest.raises(UnknownModelError):
        resolve(str(path), allow_paths=False)


@pytest.mark.parametrize("model_id", ["../mine", "acme/../../mine", "nothing", "", ".", "/"])
def test_other_names_are_unknown(tmp_path: Path, model_id: str) -> None:
    TinyModel(tmp_path / "mine").encoder()
    (tmp_path / "models" / "acme").mkdir(parents=True)
    with pytest.raises((UnknownModelError, UnusableModelError)) as caught:
        resolve(model_id, models_dir=tmp_path / "models")
    assert caught.value.status == 400


def test_a_configured_alias_comes_first(tmp_path: Path) -> None:
    path = TinyModel(tmp_path / "my-reranker").classifier()
    info = resolve(".RERANK-V1", aliases={".rerank-v1": str(path)}, allow_paths=False)
    assert (info.name, info.kind, set(info.tasks)) == ("my-reranker", ModelKind.CROSS_ENCODER, {TaskType.RERANK})
    info = resolve("house-model", aliases={"House-Model": "splade-tiny"})
    assert (info.name, info.is_alias) == ("splade-tiny", True)


def test_an_alias_to_nothing_or_to_the_wrong_kind(tmp_path: Path) -> None:
    with pytest.raises(UnknownModelError, match=r"\[x\] stands for \[gone\]"):
        resolve("x", aliases={"x": "gone"})
    with pytest.raises(UnusableModelError, match="a dense encoder"):
        resolve(".elser_model_2", aliases={".elser_model_2": "bge-small-en-v1.5"})


def test_precision_by_name() -> None:
    assert resolve("splade-tiny").precision is Precision.EXACT
    assert resolve("splade-tiny", precision={"Splade-Tiny": Precision.INT8}).precision is Precision.INT8
    assert resolve("splade-tiny", precision={"*": Precision.INT8}).precision is Precision.INT8
