"""Secrets of endpoints at rest: encrypted with Fernet (AES-128-CBC, HMAC-SHA256), each bound to its endpoint's id.

Several keys may be given: the first encrypts, all decrypt. Rotation: put the new key behind the old one on every
replica, then before it, then run ``sidecar secrets rotate``, then drop the old one.
"""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from sidecar.core.endpoint import Secrets
from sidecar.core.errors import StatusError
from sidecar.settings import Settings, UserError

KEY_FILE = "secret.key"


class UnreadableSecretsError(StatusError):
    """Stored secrets were encrypted with a key that this process does not have."""

    default_status = 500


class UnreadableSecrets(Secrets):
    """Stands where secrets could not be decrypted: the endpoint can be shown and deleted, but not used."""

    __slots__ = ("_inference_id", "are_missing")
    is_readable = False

    def __init__(self, inference_id: str, *, are_missing: bool = False) -> None:
        self._inference_id = inference_id
        self.are_missing = are_missing

    @property
    def _values(self) -> dict[str, Any]:  # type: ignore[override]
        of = f"The secrets of inference endpoint [{self._inference_id}]"
        if self.are_missing:
            raise UnreadableSecretsError(
                f"{of} are missing from the store. Update the endpoint with new secrets, or restore them from a copy"
                " with sidecar endpoints restore."
            )
        raise UnreadableSecretsError(
            f"{of} were encrypted with another key. Set SIDECAR_SECRET_KEY to that key, or update the endpoint with new"
            " secrets."
        )

    def __repr__(self) -> str:
        return "Secrets(unreadable)"


class SecretCipher:
    """Seals and opens secrets with ``keys`` (Fernet keys, the first one encrypts).

    ``is_generated`` tells that the key lies in the data directory of this machine only. Raises :class:`UserError`
    for something that is not a key.
    """

    def __init__(self, keys: Sequence[str], *, is_generated: bool = False) -> None:
        try:
            fernets = [Fernet(key) for key in keys]
        except ValueError:
            raise UserError(
                "SIDECAR_SECRET_KEY must be 32 random bytes in URL-safe base64; make one with: sidecar secrets new-key."
            ) from None
        if not fernets:
            raise UserError("SIDECAR_SECRET_KEY is empty; make a key with: sidecar secrets new-key.")
        self.is_generated = is_generated
        self._first = fernets[0]
        self._all = MultiFernet(fernets)

    def __repr__(self) -> str:
        return f"SecretCipher(is_generated={self.is_generated})"

    @classmethod
    def from_settings(cls, settings: Settings) -> SecretCipher:
        """The cipher of ``SIDECAR_SECRET_KEY``, else of the key file, which is created (0600) when missing."""
        if settings.secret_key is not None:
            keys = [key.strip() for key in settings.secret_key.get_secret_value().split(",") if key.strip()]
            return cls(keys)
        return cls([_key_of_file(settings.data_path / KEY_FILE)], is_generated=True)

    def seal(self, inference_id: str, secrets: Mapping[str, Any]) -> str | None:
        """Encrypted form of ``secrets``; ``None`` for none. Values are JSON types."""
        if not secrets:
            return None
        return self._first.encrypt(json.dumps([inference_id, dict(secrets)]).encode()).decode()

    def open(self, inference_id: str, sealed: str | None) -> Secrets:
        """The secrets of one endpoint; :class:`UnreadableSecrets` when no key fits or they belong to another."""
        if sealed is None:
            return Secrets()
        try:
            owner, values = json.loads(self._all.decrypt(sealed.encode()))
        except (InvalidToken, TypeError, ValueError):
            # a token of another key, of none, or of a form that another version wrote
            return UnreadableSecrets(inference_id)
        return Secrets(values) if owner == inference_id else UnreadableSecrets(inference_id)

    def is_current(self, sealed: str) -> bool:
        """Whether the first key encrypted this."""
        try:
            self._first.decrypt(sealed.encode())
        except InvalidToken:
            return False
        return True


def new_key() -> str:
    """A fresh random key."""
    return Fernet.generate_key().decode()


def other_key_sentence(unreadable: Sequence[str], *, is_generated: bool) -> str:
    """What to do about secrets that no key of this process opens."""
    shown = ", ".join(unreadable[:5]) + (f" and {len(unreadable) - 5} more" if len(unreadable) > 5 else "")
    has = "the key generated on this machine cannot open" if is_generated else "SIDECAR_SECRET_KEY cannot open"
    return (
        f"The secrets of inference endpoints ({shown}) were encrypted with another key, and {has} them:"
        " set SIDECAR_SECRET_KEY to that key, the same on all replicas (behind a new one and a comma to rotate it);"
        " if it is lost, start with SIDECAR_ALLOW_UNREADABLE_SECRETS=true and update or delete these endpoints."
    )


def _key_of_file(path: Path) -> str:
    try:
        if not path.exists():
            _create_key_file(path)
        return path.read_text("ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        cause = error.strerror if isinstance(error, OSError) else "it is not a key"
        raise UserError(
            f"Cannot use the key file {path}: {cause}; set SIDECAR_SECRET_KEY or SIDECAR_DATA_DIR."
        ) from None


def _create_key_file(path: Path) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    # A link is atomic and fails when another process was first, so that nobody ever reads half a key.
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=".secret-")
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(new_key())
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):
            os.link(temporary, path)
    finally:
        Path(temporary).unlink()
