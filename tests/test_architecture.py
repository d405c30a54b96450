"""The rooms and the one direction in which they may know each other."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from sidecar.services.catalogue import Catalogue

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "sidecar"

# From the ground up; rooms of one floor do not know each other.
FLOORS: tuple[tuple[str, ...], ...] = (
    ("core",),
    ("settings",),
    ("telemetry", "elastic"),
    ("registry",),
    ("services",),
    ("upstream", "runtime"),
    ("inference",),
    ("ingest", "search"),
    ("wire",),
    ("api", "front"),
    ("resources", "connections"),
    ("health",),
    ("app",),
    ("server",),
    ("cli",),
    ("__main__",),
)
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
# What a provider's module may not touch: it says what to send and reads what came, others do the sending.
IO_MODULES = {
    "aiohttp",
    "asyncio",
    "elasticsearch",
    "httpx",
    "requests",
    "socket",
    "structlog",
    "logging",
    "subprocess",
}

MODULES = sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")


def room_of(module: str) -> str:
    """``sidecar.registry.store`` is in ``registry``."""
    return module.split(".")[1]


def name_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(path: Path) -> Iterator[tuple[str, int]]:
    """Everything imported anywhere in the file, inside functions and for typing as well, with its line."""
    package = name_of(path) if path.name == "__init__.py" else name_of(path).rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text("utf-8"), str(path))):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*above, *([node.module] if node.module else [])])
            if base == "sidecar":
                yield from ((f"sidecar.{alias.name}", node.lineno) for alias in node.names)
            else:
                yield base, node.lineno
                # `from sidecar.services import acme` imports a module as well as its package
                beside = [
                    alias.name for alias in node.names if (ROOT / base.replace(".", "/") / f"{alias.name}.py").exists()
                ]
                yield from ((f"{base}.{name}", node.lineno) for name in beside)


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_a_room_knows_only_what_lies_below_it(path: Path) -> None:
    here = room_of(name_of(path))
    assert here in FLOOR, f"{here} has no floor yet: give it one in {Path(__file__).name}"
    wrong = [
        f"{path.relative_to(ROOT)}:{line} imports {module}"
        for module, line in imports(path)
        if module.startswith("sidecar.") and room_of(module) != here and FLOOR[room_of(module)] >= FLOOR[here]
    ]
    assert wrong == []


@pytest.mark.parametrize(
    "path", [path for path in MODULES if room_of(name_of(path)) in ("core", "services")], ids=name_of
)
def test_core_and_services_do_no_io(path: Path) -> None:
    found = {module.partition(".")[0] for module, _ in imports(path)}
    assert found & IO_MODULES == set()


def is_provider(path: Path) -> bool:
    """Whether the module declares a service."""
    return path.parent == PACKAGE / "services" and bool(re.search(r"^SERVICE\b", path.read_text("utf-8"), re.MULTILINE))


PROVIDERS = [path for path in MODULES if is_provider(path)]


def test_every_service_is_such_a_provider() -> None:
    assert len(PROVIDERS) == len(list(Catalogue.discover()))


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_nobody_imports_a_provider(path: Path) -> None:
    """What two of them need, or another room, stands in a module named after what it holds."""
    providers = {name_of(provider) for provider in PROVIDERS}
    assert [f"{path.name}:{line} imports {module}" for module, line in imports(path) if module in providers] == []


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_modules_are_named_after_what_they_hold(path: Path) -> None:
    assert path.stem not in ("utils", "util", "helpers", "helper", "common", "misc")


def test_every_floor_is_there() -> None:
    assert {room_of(name_of(path)) for path in MODULES} == set(FLOOR)


def test_nothing_upward_goes_unseen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "sidecar" / "core"
    package.mkdir(parents=True)
    file = package / "module.py"
    file.write_text(
        "import os\nimport sidecar.api.routes\nfrom sidecar import app\nfrom ..registry import store\n"
        "from . import tasks\n\ndef f():\n    from sidecar.cli import main\n"
    )
    monkeypatch.setattr(f"{__name__}.ROOT", tmp_path)
    assert list(imports(file)) == [
        ("os", 1),
        ("sidecar.api.routes", 2),
        ("sidecar.app", 3),
        ("sidecar.registry", 4),
        ("sidecar.core", 5),
        ("sidecar.cli", 8),
    ]
