"""Folders as sentence-transformers 3, 5 and 6 and Optimum save them, against the values that these computed themselves.

``reference/layouts.py`` and ``reference/optimum_layouts.py`` made the archives; ``make reference`` makes them anew.
"""

import json
import tarfile
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sidecar.core.tasks import InputType
from sidecar.runtime.config import Lane, Precision, RuntimeConfig
from sidecar.runtime.models import LocalModels
from tools.model_layouts import dense_values

ARCHIVES = sorted((Path(__file__).parent / "reference").glob("*.tar.xz"))
PURPOSES = {"query": InputType.SEARCH, "document": InputType.INGEST, "plain": None}


@cache
def recorded(archive: Path) -> dict[str, Any]:
    with tarfile.open(archive) as source:
        file = source.extractfile("expected.json")
        assert file is not None
        loaded: dict[str, Any] = json.load(file)
        return loaded


def cases(kind: str) -> list[Any]:
    return [
        pytest.param(archive, name, id=f"{recorded(archive)['release']}-{name}")
        for archive in ARCHIVES
        for name, model in recorded(archive)["models"].items()
        if model["kind"] == kind
    ]


def unpacked(archive: Path, name: str, folder: Path) -> tuple[LocalModels, list[str], dict[str, Any]]:
    """The models of a folder that holds the one, the texts, and the model's values."""
    with tarfile.open(archive) as source:
        members = [member for member in source if member.name.split("/")[0] == name]
        source.extractall(folder, members, filter="data")
    of_release = recorded(archive)
    return LocalModels(RuntimeConfig(models_dir=folder)), of_release["texts"], of_release["models"][name]


def test_each_release_is_there() -> None:
    assert [recorded(archive)["release"].split(".")[0] for archive in ARCHIVES] == ["Optimum 2", "3", "5", "6"]


@pytest.mark.parametrize(("archive", "name"), cases("dense"))
async def test_vectors(archive: Path, name: str, tmp_path: Path) -> None:
    models, texts, expected = unpacked(archive, name, tmp_path)
    for purpose, input_type in PURPOSES.items():
        vectors = await dense_values(models, name, texts, input_type)
        # processors sum 8-bit products differently: some of them overflow where others do not
        atol = 3e-2 if models.resolve(name).precision is Precision.INT8 else 1e-5
        np.testing.assert_allclose(np.array(vectors), np.array(expected[purpose]), atol=atol, err_msg=purpose)
    await models.close()


@pytest.mark.parametrize(("archive", "name"), cases("sparse"))
async def test_token_weights(archive: Path, name: str, tmp_path: Path) -> None:
    models, texts, expected = unpacked(archive, name, tmp_path)
    for purpose, lane in (("query", Lane.SEARCH), ("document", Lane.INGEST)):
        found = await models.sparse(name, texts, lane=lane)
        for result, weights in zip(found, expected[purpose], strict=True):
            assert result.tokens == pytest.approx({t.replace(".", "__"): w for t, w in weights.items()}, abs=1e-5)
    await models.close()


@pytest.mark.parametrize(("archive", "name"), cases("pairs"))
async def test_scores_of_pairs(archive: Path, name: str, tmp_path: Path) -> None:
    models, _, expected = unpacked(archive, name, tmp_path)
    for (query, document), score in zip(expected["pairs"], expected["scores"], strict=True):
        assert await models.rerank(name, query, [document], lane=Lane.SEARCH) == [pytest.approx(score, abs=1e-5)]
    await models.close()
