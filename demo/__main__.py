"""`python -m demo`: starts everything, tells the story, removes everything.

With `--url` and `--elasticsearch-url` it uses a sidecar and an Elasticsearch that run already; that sidecar must keep
its endpoints in that Elasticsearch and stand in front of it.
"""

import argparse
import asyncio
import os
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from elasticsearch import ApiError, TransportError
from rich.console import Console

from demo.sidecar_process import SidecarFailedError, running_sidecar
from demo.story import Story, StoryError
from tools.elasticsearch_node import NodeFailedError, NodeUnavailableError, choose_line, start_node

_NARROWEST = 110


def main() -> int:
    """Runs the demo; the exit status is 0 when all of it was told."""
    options = _options()
    console = Console()
    if not console.is_terminal:
        console = Console(width=max(console.width, _NARROWEST))
    began = time.monotonic()
    try:
        with ExitStack() as stack:
            story = _ours(stack, console) if options.url is None else _theirs(options, console)
            asyncio.run(story.tell(keep=options.keep))
            console.print(f"\n[dim]{time.monotonic() - began:.0f} s in all.[/dim]")
    except (NodeFailedError, NodeUnavailableError, SidecarFailedError, StoryError) as error:
        Console(stderr=True).print(str(error), style="red", markup=False)
        return 1
    except (ApiError, TransportError) as error:
        Console(stderr=True).print(f"A request failed: {error}", style="red", markup=False)
        return 1
    except KeyboardInterrupt:
        console.print("\nInterrupted; everything is stopped and removed.")
        return 130
    return 0


def _ours(stack: ExitStack, console: Console) -> Story:
    """An Elasticsearch and a sidecar of our own, gone at the end."""
    line = choose_line()
    console.print(f"[bold]Starting Elasticsearch[/bold] (line {line}, Basic licence) ...")
    began = time.monotonic()
    node = stack.enter_context(start_node(line, license="basic"))
    console.print(f"  Elasticsearch {node.version} at {node.url}  [dim]{time.monotonic() - began:.0f} s[/dim]")
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="sidecar-demo-")))
    began = time.monotonic()
    sidecar = stack.enter_context(running_sidecar(folder, node.url))
    console.print(f"[bold]Starting the sidecar[/bold] at {sidecar.url}  [dim]{time.monotonic() - began:.0f} s[/dim]")
    return Story(console, sidecar.url, node.url, sidecar.environment)


def _theirs(options: argparse.Namespace, console: Console) -> Story:
    environment = os.environ | {"SIDECAR_ELASTICSEARCH_URL": options.elasticsearch_url}
    return Story(console, options.url, options.elasticsearch_url, environment)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m demo", description="Shows the sidecar at work.")
    parser.add_argument("--url", help="a running sidecar, in place of one of the demo's own")
    parser.add_argument("--elasticsearch-url", help="the Elasticsearch in which that sidecar keeps its endpoints")
    parser.add_argument("--keep", action="store_true", help="leave index and endpoints behind (only with --url)")
    options = parser.parse_args()
    if (options.url is None) != (options.elasticsearch_url is None):
        parser.error("--url and --elasticsearch-url go together")
    return options


if __name__ == "__main__":
    sys.exit(main())
