"""Secrets at rest: encrypted, apart, bound to their endpoint, readable with the right key only."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from sidecar.core.endpoint import Secrets
from sidecar.registry import SecretCipher
from sidecar.registry.secrets import UnreadableSecrets, UnreadableSecretsError, new_key
from sidecar.settings import UserError, load_settings

from .conftest import Backend, Replicas, endpoint

SECRET = "sk-something-nobody-may-see"


def test_secrets_show_names_only() -> None:
    secrets = Secrets({"api_key": SECRET, "nested": {"token": SECRET}})
    for shown in (repr(secrets), str(secrets), f"{secrets}", f"{secrets!r}", "%s" % secrets, str([secrets])):  # noqa: UP031
        assert SECRET not in shown
        assert "api_key" in shown
    assert secrets["api_key"] == SECRET
    assert secrets == {"api_key": SECRET, "nested": {"token": SECRET}}
    assert not Secrets()


async def test_nothing_stored_holds_a_secret_in_clear(backend: Backend, replicas: Replicas) -> None:
    registry = await replicas.start()
    await registry.create(endpoint("a"), {"api_key": SECRET})
    await registry.create(endpoint("b"), {"api_key": "old"})
    await registry.update(endpoint("b"), {"api_key": SECRET, "more": {"deep": [SECRET]}})
    raw = await backend.raw()
    assert b"service_settings" in raw
    assert SECRET.encode() not in raw
    assert json.dumps(SECRET).encode() not in raw


async def test_secrets_go_with_their_endpoint(backend: Backend, replicas: Replicas) -> None:
    registry = await replicas.start()
    await registry.create(endpoint("a"), {"api_key": SECRET})
    await registry.update(endpoint("a"), {"api_key": "another"})
    await registry.delete("a")
    await registry.create(endpoint("a"))
    stored = await (await replicas.start()).get("a")
    assert stored is not None
    assert dict(stored.secrets) == {}
    store = backend.connect()
    await store.open()
    record = await store.get("a")
    assert record is not None
    assert record.sealed is None
    await store.close()


async def test_a_start_with_another_key_is_refused(replicas: Replicas) -> None:
    registry = await replicas.start()
    await registry.create(endpoint("with-secrets"), {"api_key": SECRET})
    await registry.create(endpoint("without"))
    with pytest.raises(UserError, match=r"\(with-secrets\) were encrypted with another key, and the key generated on"):
        await replicas.start(new_key(), is_generated=True)
    with pytest.raises(UserError, match=r"SIDECAR_SECRET_KEY cannot open them: set SIDECAR_SECRET_KEY to that key"):
        await replicas.start(new_key())


async def test_with_a_lost_key_endpoints_can_be_mended(replicas: Replicas) -> None:
    registry = await replicas.start()
    await registry.create(endpoint("a"), {"api_key": SECRET})
    await registry.create(endpoint("b"), {"api_key": SECRET})
    late = await replicas.start(new_key(), allow_unreadable=True)
    assert late.health().unreadable_secrets == ("a", "b")
    stored = await late.get("a")
    assert stored is not None
    assert stored.endpoint == endpoint("a")
    assert repr(stored.secrets) == "Secrets(unreadable)"
    with pytest.raises(UnreadableSecretsError, match=r"inference endpoint \[a\] were encrypted with another key"):
        stored.secrets.get("api_key")
    mended = await late.update(endpoint("a"), {"api_key": "new"})
    assert mended.secrets["api_key"] == "new"
    assert late.health().unreadable_secrets == ("b",)
    await late.delete("b")
    assert late.health().unreadable_secrets == ()


async def test_secrets_of_another_key_are_told_when_they_come(replicas: Replicas) -> None:
    late = await replicas.start(new_key())
    registry = await replicas.start()
    with capture_logs() as events:
        await registry.create(endpoint("a"), {"api_key": SECRET})
        await registry.create(endpoint("without"))
        async with asyncio.timeout(30):
            while late.health().endpoints < 2:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
    assert late.health().unreadable_secrets == ("a",)
    assert late.health().without_secrets == ()
    assert [event["inference_ids"] for event in events if event["event"] == "registry_secrets_unreadable"] == [["a"]]


async def test_keys_rotate_without_an_outage(replicas: Replicas) -> None:
    old, new = replicas.key, new_key()
    registry = await replicas.start(old)
    await registry.create(endpoint("a"), {"api_key": SECRET})
    await registry.create(endpoint("b"))
    both = await replicas.start(f"{new},{old}")
    stored = await both.get("a")
    assert stored is not None
    assert stored.secrets["api_key"] == SECRET
    assert await both.rotate_secrets() == 1
    assert await both.rotate_secrets() == 0
    after = await (await replicas.start(new)).get("a")
    assert after is not None
    assert (after.secrets["api_key"], after.endpoint) == (SECRET, endpoint("a"))
    with pytest.raises(UserError):
        await replicas.start(old)


def test_sealed_secrets_of_one_endpoint_are_no_use_to_another() -> None:
    cipher = SecretCipher([new_key()])
    sealed = cipher.seal("a", {"api_key": SECRET})
    assert sealed is not None
    assert SECRET not in sealed
    assert cipher.open("a", sealed) == {"api_key": SECRET}
    assert isinstance(cipher.open("b", sealed), UnreadableSecrets)
    assert isinstance(cipher.open("a", sealed[:-4] + "AAAA"), UnreadableSecrets)


def test_the_key_file_is_made_once_for_its_owner_only(tmp_path: Path) -> None:
    settings = load_settings({"data_dir": tmp_path / "data", "secret_key": None})
    first, second = SecretCipher.from_settings(settings), SecretCipher.from_settings(settings)
    assert first.is_generated
    sealed = first.seal("a", {"k": "v"})
    assert second.open("a", sealed) == {"k": "v"}
    (file,) = (tmp_path / "data").iterdir()
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.parent.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("key", ["short", "%", "ä" * 44, ","])
def test_what_is_no_key_is_refused_without_showing_it(key: str, tmp_path: Path) -> None:
    settings = load_settings({"data_dir": tmp_path, "secret_key": key})
    with pytest.raises(UserError, match="sidecar secrets new-key") as caught:
        SecretCipher.from_settings(settings)
    assert "short" not in str(caught.value)
