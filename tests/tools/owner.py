"""A program that owns a node and waits to be killed: `owner.py LINE` prints the node's URL and directory."""

import sys
import time

from tools.elasticsearch_node import start_node

with start_node(sys.argv[1], "basic", heap="256m") as node:  # type: ignore[arg-type]
    print(node.url, node.directory, flush=True)
    time.sleep(600)
