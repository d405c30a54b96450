"""``sidecar models``: what is there, and what is wrong with the rest."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from sidecar.cli import build
from tests.runtime.tiny import TinyModel


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SIDECAR_MODELS_DIR", str(tmp_path / "models"))
    monkeypatch.setenv("SIDECAR_DATA_DIR", str(tmp_path / "data"))
    TinyModel(tmp_path / "models" / "mine").encoder("onnx/model_O3.onnx")
    TinyModel(tmp_path / "models" / "odd").encoder(pad_token_id="<pad>")
    return tmp_path / "models"


def run(*arguments: str) -> str:
    result = CliRunner(env={"COLUMNS": "200"}).invoke(build(), ["models", *arguments])
    assert result.exit_code == 0, result.exception
    return result.output


def test_a_folder_that_cannot_be_used_is_listed_with_the_reason(folder: Path) -> None:
    reason = f'[config.json] of model directory [{folder / "odd"}] has "<pad>" as [pad_token_id]'
    shown = run("list")
    assert f"odd cannot be used: {reason}" in shown
    assert "mine" in shown
    listed = {model["name"]: model for model in json.loads(run("list", "--json"))["models"]}
    assert listed["mine"]["graph"] == "onnx/model_O3.onnx"
    assert listed["odd"]["error"].startswith(reason)


def test_inspect_says_which_graph_is_run(folder: Path) -> None:
    for name in ("mine", str(folder / "mine")):
        described = json.loads(run("inspect", name))
        assert (described["graph"], described["precision"], described["dimensions"]) == (
            "onnx/model_O3.onnx",
            "exact",
            4,
        )


def test_no_heading_is_cut_at_80_columns(folder: Path) -> None:
    shown = CliRunner(env={"COLUMNS": "80"}).invoke(build(), ["models", "list"]).output
    heading = next(line for line in shown.splitlines() if line.strip())
    assert heading.split() == ["model", "kind", "tasks", "dims", "tokens", "precision", "licence"]
    assert (folder / "mine").is_dir()
