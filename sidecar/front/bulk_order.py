"""Actions of a bulk that are done behind it: each document's in the order in which they came.

An update whose vectors are made of what is stored as well goes to the cluster under the sequence number that was read.
Where that was too early, as an earlier action of the same bulk or another caller changed the document, it is read and
written again; whatever the bulk does to this document later waits for it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sidecar.front.bulk_batches import MOST_ACTIONS, MOST_BYTES
from sidecar.front.bulk_lines import BulkAction

_OWN_ATTEMPTS = 8
_CONFLICT, _MISSING = 409, 404


class Unfinished:
    """Which items are to be done, and when: of every document one at a time, of several documents side by side.

    ``guarded`` were sent and may have met the front's own guard, ``waiting`` were not; both by their places among the
    items. ``document_of`` tells which document an action is of.
    """

    def __init__(
        self,
        guarded: Mapping[int, BulkAction],
        waiting: Mapping[int, BulkAction],
        document_of: Callable[[BulkAction], int | None],
    ) -> None:
        self._actions = {**guarded, **waiting}
        self._is_due = dict.fromkeys(waiting, True) | dict.fromkeys(guarded, False)
        self._attempts = {place: _attempts(action) for place, action in self._actions.items()}
        self._chains: dict[int | None, deque[int]] = {}
        for place in sorted(self._actions):
            self._chains.setdefault(document_of(self._actions[place]), deque()).append(place)

    def action(self, place: int) -> BulkAction:
        """The action in a place."""
        return self._actions[place]

    def heed(self, items: list[dict[str, Any]]) -> None:
        """Takes in the cluster's answer to the bulk; creations in place of updates are told as updates."""
        self._actions = {place: action for place, action in self._actions.items() if place < len(items)}
        self._chains = {
            document: deque(place for place in chain if place < len(items)) for document, chain in self._chains.items()
        }
        guarded = {place: True for place in self._actions if not self._is_due[place]}
        self._settle(guarded, items)

    def done(self, guarded: Mapping[int, bool], items: list[dict[str, Any]]) -> None:
        """Takes in what came of places that were due, and whether each was ``guarded`` by the front."""
        for place in guarded:
            self._attempts[place] -= 1
        self._settle(guarded, items)

    def _settle(self, guarded: Mapping[int, bool], items: list[dict[str, Any]]) -> None:
        for place, is_guarded in guarded.items():
            ((_, about),) = items[place].items()
            items[place] = {self._actions[place].operation: about}
            is_behind = about.get("status") == _CONFLICT or (about.get("status") == _MISSING and self._inserts(place))
            self._is_due[place] = is_guarded and is_behind and self._attempts[place] > 0

    def _inserts(self, place: int) -> bool:
        """Whether an update may make a document that is not there, which under a guard it does not."""
        return b"upsert" in self._actions[place].source

    def due(self) -> Sequence[int]:
        """The places to be done now, no more than a batch holds; none where all is done."""
        found: list[int] = []
        size = 0
        for chain in self._chains.values():
            while chain and not self._is_due[chain[0]]:
                chain.popleft()
            if not chain:
                continue
            size += self._actions[chain[0]].size
            if found and (size > MOST_BYTES or len(found) >= MOST_ACTIONS):
                break
            found.append(chain[0])
        return found


def _attempts(action: BulkAction) -> int:
    """How often a guarded update is done again: as often as the caller allows, and for changes by the same bulk."""
    wanted = action.meta.get("retry_on_conflict", 0)
    return _OWN_ATTEMPTS + (wanted if isinstance(wanted, int) else 0)
