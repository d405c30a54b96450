"""What the person who starts the sidecar has to change."""

from __future__ import annotations


class UserError(Exception):
    """A mistake of the person at the command line: shown as it is, without a traceback, with exit code 2.

    The message is one sentence (or one per line) that says what to change, and never contains a secret.
    """
