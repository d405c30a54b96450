"""The list of commands: what it says of them is what they say, and it waits for none of them."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from sidecar.cli import COMMANDS, build, load_command

HEAVY = {"aiohttp", "botocore", "cryptography", "elasticsearch", "google.auth", "numpy", "onnxruntime", "pydantic"}
PROGRAM = """
import json, sys
from sidecar.cli import main
try:
    main()
except SystemExit:
    pass
print(json.dumps(sorted(sys.modules)), file=sys.stderr)
"""


@pytest.mark.parametrize("name", COMMANDS)
def test_the_list_says_what_the_command_says(name: str) -> None:
    assert load_command(name).help.startswith(COMMANDS[name])
    shown = CliRunner(env={"COLUMNS": "200"}).invoke(build(), [name, "--help"])
    assert shown.exit_code == 0
    assert f"Usage: sidecar {name} " in shown.output
    assert COMMANDS[name] in shown.output
    assert "--show-completion" not in shown.output


def test_every_command_is_listed() -> None:
    shown = CliRunner(env={"COLUMNS": "200"}).invoke(build(), ["--help"]).output
    assert [name for name, line in COMMANDS.items() if f"{name} " not in shown or line not in shown] == []


def test_a_command_that_is_not_there_is_named() -> None:
    result = CliRunner().invoke(build(), ["backfil"])
    assert result.exit_code == 2
    assert "Did you mean 'backfill'?" in result.output


def test_commands_that_messages_and_docs_name_are_there() -> None:
    root = Path(__file__).parents[2]
    texts = [root / "README.md", *root.glob("docs/**/*.md"), *root.glob("sidecar/**/*.py")]
    named = {name for text in texts for name in re.findall(r"[\[`(]sidecar ([a-z]+)", text.read_text("utf-8"))}
    assert len(named) > 8
    assert named - COMMANDS.keys() == set()


@pytest.mark.parametrize(("arguments", "needed"), [(["--help"], set()), (["config", "--json"], {"pydantic"})])
def test_nothing_is_imported_that_is_not_needed(arguments: list[str], needed: set[str], tmp_path: Path) -> None:
    command = [sys.executable, "-c", PROGRAM, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path)
    assert done.stdout
    assert HEAVY & set(json.loads(done.stderr.splitlines()[-1])) == needed


def test_the_extra_that_eval_needs_is_named() -> None:
    assert "It needs the extra named eval." in CliRunner().invoke(build(), ["eval", "--help"]).output
