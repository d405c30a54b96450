"""The sparse head: blocks, 8-bit blocks and screening against the plain product."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidecar.runtime.batch import PaddedBatch
from sidecar.runtime.catalog import BUILT_IN_DIR
from sidecar.runtime.directory import ModelDirectory
from sidecar.runtime.engine import Work
from sidecar.runtime.screening import ScreenedHead
from sidecar.runtime.session import Session
from sidecar.runtime.sparse_engine import SparseEngine
from sidecar.runtime.sparse_head import HIDDEN, WEIGHTS, blocked_graph, encoder_graph, split_head
from tests.runtime.tiny import WORDS, TinyModel, ids_of

Floats = npt.NDArray[np.float32]
TEXTS = (
    "The weather is lovely today.",
    "shock",
    "Heat transfer to a blunt body in hypersonic flow, measured in a shock tube at several altitudes.",
    "In 1969 the heart of a ship's engine was a boiler. " * 20,
)


def batch_of(texts: tuple[str, ...]) -> PaddedBatch:
    directory = ModelDirectory.read(BUILT_IN_DIR / "splade-tiny")
    return PaddedBatch.of(SparseEngine(directory, exact=True).word_pieces.encode(texts), 0)


@pytest.fixture(scope="module")
def published() -> tuple[PaddedBatch, Floats]:
    """Token weights of TEXTS from the model's own graph: log and relu outside, maximum over real positions."""
    batch = batch_of(TEXTS)
    (logits,) = Session(BUILT_IN_DIR / "splade-tiny" / "model.onnx", 1).run(batch.feeds, ["logits"])
    weights = [np.log1p(np.maximum(logits[row, :n], 0)).max(axis=0) for row, n in enumerate(batch.lengths)]
    return batch, np.array(weights)


@pytest.mark.parametrize("exact", [True, False])
def test_blocks_against_the_whole_graph(published: tuple[PaddedBatch, Floats], exact: bool) -> None:
    batch, expected = published
    split = split_head(BUILT_IN_DIR / "splade-tiny" / "model.onnx", "logits")
    assert split is not None
    (weights,) = Session(blocked_graph(split, int8=not exact), 1).run(batch.feeds, [WEIGHTS])
    if exact:
        np.testing.assert_allclose(weights, expected, atol=1e-5)
        assert ((weights > 0) == (expected > 0)).all()
    else:
        # 8-bit: a step of the hidden states and one of the matrix, some hundredths of a weight.
        assert np.abs(weights - expected).max() < 0.3
        cosine = (weights * expected).sum(1) / np.linalg.norm(weights, axis=1) / np.linalg.norm(expected, axis=1)
        assert cosine.min() > 0.995


def test_screening_finds_exactly_what_the_whole_graph_finds(published: tuple[PaddedBatch, Floats]) -> None:
    batch, expected = published
    split = split_head(BUILT_IN_DIR / "splade-tiny" / "model.onnx", "logits")
    assert split is not None
    (hidden,) = Session(encoder_graph(split), 1).run(batch.feeds, [HIDDEN])
    real = hidden[batch.mask > 0]
    head = ScreenedHead(split.weights, split.bias, real)
    for screen in (head, head.refitted(real[: len(real) // 2]), head.refitted(real[::-2])):
        for row, size in enumerate(batch.lengths):
            ids, logits = screen.maxima(hidden[row, :size])
            assert sorted(ids.tolist()) == np.flatnonzero(expected[row]).tolist()
            np.testing.assert_allclose(np.log1p(logits), expected[row][ids], atol=1e-5)
    assert head.count.bounded + head.count.exact < head.count.pairs * 1.1


@settings(max_examples=40)
@given(
    seed=st.integers(0, 2**32 - 1),
    vocabulary=st.integers(1, 3000),
    tokens=st.integers(1, 40),
    shift=st.floats(-60, 10),
    spread=st.floats(0.01, 10),
)
def test_screening_is_exact_for_any_matrix(
    seed: int, vocabulary: int, tokens: int, shift: float, spread: float
) -> None:
    random = np.random.default_rng(seed)
    weights = random.normal(size=(vocabulary, 32)).astype(np.float32)
    bias = (random.normal(size=vocabulary) * spread + shift).astype(np.float32)
    hidden = (random.normal(size=(tokens, 32)) * 3 + 1).astype(np.float32)
    sample = random.normal(size=(200, 32)).astype(np.float32)  # of another distribution, on purpose
    ids, logits = ScreenedHead(weights, bias, sample).maxima(hidden)
    expected = (hidden.astype(np.float64) @ weights.T + bias).max(axis=0)
    found = np.full(vocabulary, -np.inf)
    found[ids] = logits
    certain = np.abs(expected) > 1e-3  # at zero itself rounding decides
    assert ((found > 0) == (expected > 0))[certain].all()
    np.testing.assert_allclose(logits, expected[ids], rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("opset", [11, 13, 17, 18, 20])
@pytest.mark.parametrize("transposed", [False, True])
def test_a_masked_language_model_of_any_opset_is_split(tmp_path: Path, opset: int, transposed: bool) -> None:
    tiny = TinyModel(tmp_path, opset=opset)
    tiny.masked_language_model(transposed=transposed)
    split = split_head(tmp_path / "model.onnx", "logits")
    assert split is not None
    np.testing.assert_array_equal(split.weights, tiny.head.T)
    engine = SparseEngine(ModelDirectory.read(tmp_path), exact=True)
    texts = ["red green", "blue", "red red fast slow green"]
    work = [Work(text) for text in engine.word_pieces.encode(texts)]
    results = engine.run(engine.open(1), work, engine.batch(work))
    assert engine.head == "blocks"  # too narrow for screening
    for text, result in zip(texts, results, strict=True):
        logits = (tiny.hidden(ids_of(text)) @ tiny.head + tiny.bias).max(axis=0)
        expected = {WORDS[n].replace(".", "__"): float(np.log1p(logits[n])) for n in range(4, 12) if logits[n] > 0}
        assert result.tokens == pytest.approx(expected, abs=1e-5)


def test_another_ending_is_run_as_it_is(tmp_path: Path) -> None:
    tiny = TinyModel(tmp_path)
    tiny.masked_language_model(plain=False)
    assert split_head(tmp_path / "model.onnx", "logits") is None
    engine = SparseEngine(ModelDirectory.read(tmp_path), exact=True)
    work = [Work(text) for text in engine.word_pieces.encode(["red green", "blue blue blue slow"])]
    (first, _) = engine.run(engine.open(1), work, engine.batch(work))
    logits = (tiny.hidden(ids_of("red green")) @ tiny.head + tiny.bias).max(axis=0)
    assert engine.head == "whole"
    assert first.tokens == pytest.approx(
        {WORDS[n].replace(".", "__"): float(np.log1p(logits[n])) for n in range(4, 12) if logits[n] > 0}
    )


def test_screening_that_saves_nothing_says_so() -> None:
    random = np.random.default_rng(5)
    weights = random.normal(size=(5000, 64)).astype(np.float32)
    hidden = random.normal(size=(50, 64)).astype(np.float32)
    dense = ScreenedHead(weights, np.zeros(5000, np.float32), hidden)  # half of all logits are above zero
    dense.maxima(hidden)
    assert not dense.count.pays
    sparse = ScreenedHead(weights, np.full(5000, -200, np.float32), hidden)  # none is
    assert sparse.maxima(hidden)[0].tolist() == []
    assert sparse.count.pays
