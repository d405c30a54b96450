"""Which of a directory's ONNX files is run: the names that exporters write, and what suits this machine's processor.

    model, model_O1, model_O2, model_optimized, model_O3        fp32 (Optimum, sentence-transformers)
    model_fp16, model_O4                                        fp16
    model_int8, model_quantized, model_qint8_avx512_vnni, ...   int8
    model_q4, model_q4f16, model_bnb4                           4 bits

each in the directory itself, below ``onnx/``, or in the folder of the Transformer module.
"""

from __future__ import annotations

import platform
from collections.abc import Collection, Iterable
from functools import cache
from pathlib import Path, PurePosixPath

from sidecar.runtime.config import Precision

_FP32 = ("model", "model_O1", "model_O2", "model_optimized", "model_O3")
_FP16 = ("model_fp16", "model_O4")
_INT4 = ("model_q4", "model_q4f16", "model_bnb4")
# Made for a processor by sentence-transformers: signed weights where it adds in 32 bits, unsigned ones on plain AVX2,
# whose 16-bit sums of signed products overflow.
_FOR_PROCESSOR = {
    "avx512_vnni": "model_qint8_avx512_vnni",
    "avx512f": "model_qint8_avx512",
    "avx2": "model_quint8_avx2",
    "arm64": "model_qint8_arm64",
}
_INT8 = ("model_int8", "model_quantized", "model_uint8")
_OWN = "model_fused_int8"
_CPUINFO = Path("/proc/cpuinfo")


def choose(
    files: Collection[str], precision: Precision | None, processor: Iterable[str], folder: str = ""
) -> tuple[str, Precision] | None:
    """The graph to run, and its precision; ``None`` when there is none whose name tells what it is.

    Args:
        files: names relative to the directory.
        precision: ``INT8`` takes an 8-bit graph first, anything else an exact one.
        processor: what the processor can do, as ``processor_features`` says.
        folder: of the Transformer module, whose graphs count as the directory's.
    """
    exact = [(name, Precision.EXACT) for name in _FP32]
    half = [(name, Precision.FP16) for name in _FP16]
    int8 = [(name, Precision.INT8) for name in _int8_names(frozenset(processor))]
    int4 = [(name, Precision.INT4) for name in _INT4]
    order = [*int8, *exact, *half, *int4] if precision is Precision.INT8 else [*exact, *half, *int8, *int4]
    for name, kind in order:
        for place in _places(folder):
            if (file := str(PurePosixPath(place) / f"{name}.onnx")) in files:
                return file, kind
    others = [file for file in files if file.endswith(".onnx") and str(PurePosixPath(file).parent) in _places(folder)]
    return (others[0], Precision.EXACT) if len(others) == 1 else None


def _places(folder: str) -> list[str]:
    places = [".", "onnx"]
    return [*places, folder, str(PurePosixPath(folder) / "onnx")] if folder else places


def _int8_names(processor: frozenset[str]) -> list[str]:
    """8-bit graphs, best first: for this processor, for any, for others (which run, with another rounding)."""
    suited = [name for feature, name in _FOR_PROCESSOR.items() if feature in processor]
    others = [name for name in reversed(_FOR_PROCESSOR.values()) if name not in suited]
    return [_OWN, *suited, *_INT8, *others]


@cache
def processor_features() -> frozenset[str]:
    """What this machine's processor can do, of ``avx2``, ``avx512f``, ``avx512_vnni`` and ``arm64``."""
    if platform.machine().lower() in ("arm64", "aarch64"):
        return frozenset({"arm64"})
    try:
        lines = _CPUINFO.read_text(encoding="utf-8").splitlines()
    except OSError:  # not Linux: every x86 processor of the last ten years has AVX2
        return frozenset({"avx2"})
    flags = next((line.partition(":")[2].split() for line in lines if line.startswith("flags")), [])
    return frozenset(flags) & frozenset(_FOR_PROCESSOR)
