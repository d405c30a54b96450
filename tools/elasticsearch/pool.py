"""Nodes that several tests share: each is started once, when it is first wanted, and side by side with the others."""

from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from threading import Lock

from tools.elasticsearch.node import Node
from tools.elasticsearch.release import License, Line
from tools.elasticsearch_node import start_node

Kind = tuple[Line, License]


class NodePool:
    """Nodes by line and licence, all ended by `close`."""

    def __init__(self) -> None:
        self._starting: dict[Kind, Future[Node]] = {}
        self._running = ExitStack()
        self._lock = Lock()
        self._threads = ThreadPoolExecutor(max_workers=4, thread_name_prefix="elasticsearch")

    def start(self, kinds: Iterable[Kind]) -> None:
        """Begin to start those of `kinds` that were not asked for before, without waiting."""
        for kind in kinds:
            if kind not in self._starting:
                self._starting[kind] = self._threads.submit(self._start, *kind)

    def node(self, line: Line, license: License) -> Node:
        """The node of this kind, as soon as it answers.

        Raises:
            NodeUnavailableError: no way of getting one is open; said again every time it is asked for.
            NodeFailedError: it was started and did not come up.
        """
        self.start([(line, license)])
        return self._starting[line, license].result()

    def close(self) -> None:
        """End every node; one that is still coming up is waited for first."""
        self._threads.shutdown(wait=True, cancel_futures=True)
        self._running.close()

    def _start(self, line: Line, license: License) -> Node:
        starting = start_node(line, license)
        node = starting.__enter__()
        with self._lock:
            self._running.push(starting.__exit__)
        return node
