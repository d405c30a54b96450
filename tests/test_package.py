"""What is installed is whole: the wheel carries the mappings, the models and their notices."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROGRAM = """
import sidecar
from sidecar.elastic.mappings import load_mapping, mapping_names, mappings_directory
from sidecar.runtime.catalog import Catalog
from sidecar.runtime.config import RuntimeConfig
catalog = Catalog(RuntimeConfig())
print(sidecar.__file__)
print(mappings_directory())
print(load_mapping("sidecar-endpoints")["index"], *mapping_names())
print(*(catalog.resolve(name)[0].name for name in catalog.names()))
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the wheel's content, as an installer lays it out."""
    place = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(place)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    (wheel,) = place.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(place / "site")
    return place / "site"


@pytest.mark.slow
def test_the_wheel_holds_every_file_of_package_and_mappings(installed: Path) -> None:
    rooms = [ROOT / "sidecar", ROOT / "mappings"]
    files = [str(file.relative_to(ROOT)) for room in rooms for file in room.rglob("*") if file.is_file()]
    assert len(files) > 50
    expected = {
        name if name.startswith("sidecar/") else f"sidecar/{name}" for name in files if "__pycache__" not in name
    }
    assert [name for name in sorted(expected) if not (installed / name).exists()] == []


@pytest.mark.slow
def test_the_installed_package_finds_its_mappings_and_models(installed: Path, tmp_path: Path) -> None:
    # The working copy is installed in editable form, so the unpacked wheel has to come first on the path.
    program = f"import sys; sys.path.insert(0, {str(installed)!r})\n{PROGRAM}"
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True)
    package, mappings, endpoints, models = done.stdout.splitlines()
    assert package == str(installed / "sidecar" / "__init__.py")
    assert mappings == str(installed / "sidecar" / "mappings")
    assert endpoints.split()[:3] == ["sidecar-endpoints-1", "sidecar-endpoints", "sidecar-secrets"]
    assert models.split() == ["splade-tiny", "bge-small-en-v1.5", "all-MiniLM-L6-v2"]


def test_mappings_are_found_in_the_working_copy() -> None:
    from sidecar.elastic.mappings import load_mapping, mapping_names, mappings_directory

    assert str(mappings_directory()) == str(ROOT / "mappings")
    assert {"sidecar-endpoints", "sidecar-secrets"} <= set(mapping_names())
    for name in ("sidecar-endpoints", "sidecar-secrets"):
        mapping = load_mapping(name)
        assert mapping["mappings"]["dynamic"] == "strict"
        assert mapping["mappings"]["_meta"]["version"] == 1
        assert mapping["settings"]["index"]["hidden"] is True
    with pytest.raises(FileNotFoundError):
        load_mapping("no-such-mapping")
