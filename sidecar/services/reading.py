"""From the body of a create or update request to an endpoint, by the declaration of its service.

Order of the checks, each reporting alone: ``service_settings`` there, chunking settings, service settings, task
settings, secrets, unknown keys. Source: Elasticsearch API reference, "Create an inference endpoint"; the order is what
real nodes show.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlsplit

from sidecar.core.chunking import parse_chunking_settings
from sidecar.core.endpoint import Endpoint, Secrets
from sidecar.core.errors import StatusError, ValidationError
from sidecar.core.generations import Generation
from sidecar.core.javatext import java_text
from sidecar.core.tasks import TaskType
from sidecar.services.declaration import RemoteTask, Service, Task
from sidecar.services.setting_kinds import Url
from sidecar.services.settings import (
    SECRET_SETTINGS,
    SERVICE_SETTINGS,
    TASK_SETTINGS,
    Reading,
    Setting,
    read_settings,
    unknown_settings,
)

CHUNKING_SETTINGS = "chunking_settings"
# settings stand in responses in this order, any other where ``url`` does
_SHOWN_ORDER = ("model_id", "organization_id", "url", "similarity", "dimensions", "max_input_tokens", "rate_limit")
SET_BY_USER = "dimensions_set_by_user"


@dataclass(frozen=True, slots=True)
class Draft:
    """An endpoint as the request describes it, not yet validated by a call nor stored."""

    endpoint: Endpoint
    secrets: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Update:
    """What an update makes of an endpoint; ``secrets`` is ``None`` when they stay, ``changes`` false when all does."""

    endpoint: Endpoint
    secrets: Mapping[str, Any] | None
    changes: bool


def read_endpoint(
    service: Service, task_type: TaskType, inference_id: str, body: Mapping[str, Any], generation: Generation
) -> Draft:
    """The endpoint of a create request; ``body`` is without ``service`` and ``task_type``.

    Raises:
        SidecarError: with Elasticsearch's own type and wording for everything that is wrong.
    """
    rest = dict(body)
    service_settings = _object(rest.pop(SERVICE_SETTINGS, None), SERVICE_SETTINGS)
    if service_settings is None:
        raise StatusError(f"Missing required field [{SERVICE_SETTINGS}]")
    task_settings = _object(rest.pop(TASK_SETTINGS, None), TASK_SETTINGS) or {}
    task = service.task(task_type, generation)
    if service.settings_first:
        _refuse_unknown_first(service, task, service_settings, generation)
    if task is None:
        raise unsupported_task(service.name, task_type)
    chunking = None
    if task_type.is_embedding and has_chunking(task, generation):
        given = rest.pop(CHUNKING_SETTINGS, None)
        if given is None and task.default_chunking:
            given = task.default_chunking(generation)
        chunking = parse_chunking_settings(given, generation=generation)
    if task.prepare:
        task.prepare(service_settings, task_settings)

    def reading(values: dict[str, Any], scope: str) -> Reading:
        return Reading(values, scope, generation, service.name)

    secrets = _read_secrets(task, reading(service_settings, SECRET_SETTINGS)) if task.secrets_first else {}
    settings = _read_service_settings(task, reading(service_settings, SERVICE_SETTINGS))
    stored_task_settings = _read_task_settings(task, settings, reading(task_settings, TASK_SETTINGS))
    if not task.secrets_first:
        secrets = _read_secrets(task, reading(service_settings, SECRET_SETTINGS))
    if task.check_endpoint:
        task.check_endpoint(settings, secrets)
    if task.check_together:
        task.check_together(settings, stored_task_settings)
    others = {} if task.ignores_top_level else rest
    for group in (others, service_settings, {} if task.ignores_task_settings else task_settings):
        if group:
            raise unknown_settings(group, service.name, generation)
    endpoint = Endpoint(inference_id, task_type, service.name, settings, stored_task_settings, chunking)
    return Draft(endpoint, secrets)


def has_chunking(task: Task, generation: Generation) -> bool:
    return task.has_chunking and generation.has_chunking_settings and generation.at_least(task.chunking_since)


def _refuse_unknown_first(
    service: Service, task: Task | None, service_settings: Mapping[str, Any], generation: Generation
) -> None:
    """Report unknown service settings before anything else is looked at, the task type included."""
    declared = (*task.settings, *task.secrets) if task else ()
    known = {setting.name for setting in declared if setting.is_known(generation)}
    if unknown := {name: value for name, value in service_settings.items() if name not in known}:
        raise unknown_settings(unknown, service.name, generation)


def unsupported_task(service: str, task_type: TaskType) -> StatusError:
    return StatusError(f"The [{service}] service does not support task type [{task_type}]")


def read_update(
    task: Task, endpoint: Endpoint, secrets: Mapping[str, Any], body: Mapping[str, Any], generation: Generation
) -> Update:
    """What ``service_settings``, ``task_settings`` and ``chunking_settings`` of an update make of ``endpoint``.

    Only mutable settings change; immutable and unknown ones beside them are ignored. Secrets may be left out when
    something mutable is given, and are demanded when nothing is, as Elasticsearch does.

    Raises:
        SidecarError: a value is wrong, settings would no longer fit together, or secrets alone could have changed
            something and are missing.
    """
    given = dict(body.get(SERVICE_SETTINGS) or {})
    settings = dict(endpoint.service_settings)
    new_secrets: Mapping[str, Any] | None = None
    if given:
        if task.check_update:
            task.check_update(settings, given)
        mutable = tuple(s for s in task.settings if s.mutable and given.get(s.name) is not None)
        reading = Reading(given, SERVICE_SETTINGS, generation, endpoint.service)
        changes = read_settings(mutable, reading)
        merge = task.merge_update
        settings = merge(settings, changes, body, reading) if merge else {**settings, **changes}
        reading.finish()
        has_secret = any(given.get(secret.name) is not None for secret in task.secrets)
        if task.secrets and (has_secret or not mutable):
            new_secrets = _read_secrets(task, Reading(given, SECRET_SETTINGS, generation, endpoint.service))
        if task.secrets and new_secrets is None:
            _check_addresses(mutable, endpoint.service_settings, settings)
        if task.check_endpoint:
            task.check_endpoint(settings, secrets if new_secrets is None else new_secrets)
    chunking = _updated_chunking(task, endpoint, body.get(CHUNKING_SETTINGS), generation)
    task_settings = merge_task_settings(task, endpoint.task_settings, body.get(TASK_SETTINGS) or {}, generation)
    updated = replace(endpoint, service_settings=settings, task_settings=task_settings, chunking_settings=chunking)
    return Update(updated, new_secrets, updated != endpoint or _differs(new_secrets, secrets))


def _differs(new_secrets: Mapping[str, Any] | None, secrets: Mapping[str, Any]) -> bool:
    """Whether secrets change; those that nobody can read any more do, and are not looked at."""
    if new_secrets is None:
        return False
    return (isinstance(secrets, Secrets) and not secrets.is_readable) or new_secrets != secrets


def _check_addresses(mutable: Sequence[Setting], old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
    """Refuse that stored secrets go to another server: who may change settings need not know the secrets.

    Raises:
        ValidationError: an address has another origin, and the secrets are not given with it.
    """
    moved = [
        setting.name
        for setting in mutable
        if isinstance(setting, Url) and _origin(old.get(setting.name)) != _origin(new.get(setting.name))
    ]
    if moved:
        raise ValidationError(
            *(
                f"[{SERVICE_SETTINGS}] The stored secrets would be sent to the new [{name}]. Give them in the same"
                " request to confirm it"
                for name in moved
            )
        )


def _origin(url: Any) -> tuple[str, str, int | None]:
    parts = urlsplit(str(url))
    try:
        port = parts.port
    except ValueError:
        port = None
    scheme = parts.scheme.lower()
    return scheme, (parts.hostname or "").lower(), port or {"http": 80, "https": 443}.get(scheme)


def _updated_chunking(task: Task, endpoint: Endpoint, given: Any, generation: Generation) -> Mapping[str, Any] | None:
    if given is None:
        return endpoint.chunking_settings
    if not endpoint.task_type.is_embedding or not has_chunking(task, generation):
        raise cannot_be_updated({CHUNKING_SETTINGS: given})
    return parse_chunking_settings(given, generation=generation)


def cannot_be_updated(fields: Mapping[str, Any]) -> StatusError:
    """The refusal of an update with ``fields`` that creation alone sets."""
    return StatusError(
        f"Request contained fields which cannot be updated, remove these fields and try again [{java_text(fields)}]"
    )


def merge_task_settings(
    task: Task, stored: Mapping[str, Any], given: Mapping[str, Any], generation: Generation, service: str = ""
) -> dict[str, Any]:
    """Stored task settings with the ``given`` known ones over them; unknown keys are ignored.

    Raises:
        ValidationError: a given value is wrong.
    """
    if not given:
        return dict(stored)
    if task.screen_task_settings:
        task.screen_task_settings(given, generation)
    reading = Reading(dict(given), TASK_SETTINGS, generation, service)
    optional = tuple(
        replace(s, required=False, default=None)
        for s in task.task_settings
        if any(given.get(name) is not None for name in (s.name, *s.aliases))
    )
    values = read_settings(optional, reading)
    reading.finish()
    if isinstance(task, RemoteTask) and task.keeps_unknown_task_settings:
        known = {setting.name for setting in task.task_settings}
        values |= {name: value for name, value in given.items() if name not in known}
    if isinstance(task, RemoteTask) and task.merge:
        return dict(task.merge(stored, values))
    return {**stored, **values}


def shown_settings(task: Task, endpoint: Endpoint, generation: Generation) -> dict[str, Any]:
    """The service settings that GET shows."""
    visible = {s.name for s in task.settings if s.shown and s.is_known(generation)}
    hidden = ({s.name for s in task.settings} - visible | {SET_BY_USER}) - task.shows
    known = {s.name for s in task.settings} | task.shows | _learned(task)
    shown = {name: value for name, value in endpoint.service_settings.items() if name in known and name not in hidden}
    if not isinstance(task, RemoteTask):
        return shown
    ranks = {name: rank for rank, name in enumerate(_SHOWN_ORDER)}
    return dict(sorted(shown.items(), key=lambda item: ranks.get(item[0], ranks["url"])))


def _learned(task: Task) -> set[str]:
    """Settings that the validation call adds."""
    return {"dimensions", "similarity"} if isinstance(task, RemoteTask) and task.dense else set()


def _object(value: Any, name: str) -> dict[str, Any] | None:
    if value is None or isinstance(value, dict):
        return None if value is None else dict(value)
    raise StatusError(f"[{name}] must be an object, but was [{java_text(value)}]")


def _read_service_settings(task: Task, reading: Reading) -> dict[str, Any]:
    settings = read_settings(task.settings, reading)
    if task.further_settings:
        reading.finish()
        settings |= read_settings(task.further_settings(settings), reading)
    if task.check:
        task.check(settings, reading)
    reading.finish()
    if isinstance(task, RemoteTask) and task.dense:
        settings[SET_BY_USER] = "dimensions" in settings
    return settings


def _read_task_settings(task: Task, settings: dict[str, Any], reading: Reading) -> dict[str, Any]:
    if task.screen_task_settings:
        task.screen_task_settings(reading.values, reading.generation)
    declared = task.task_settings_of(settings) if task.task_settings_of else task.task_settings
    values = read_settings(declared, reading)
    if task.check_task_settings:
        task.check_task_settings(values, settings, reading)
    reading.finish()
    return values


def _read_secrets(task: Task, reading: Reading) -> dict[str, Any]:
    secrets = read_settings(task.secrets, reading)
    if task.check_secrets:
        task.check_secrets(secrets, reading)
    reading.finish()
    return secrets


def dimensions_differ(inference_id: str, found: int | None, wanted: int | None) -> StatusError:
    """The error for vectors of another size than the endpoint was created with."""
    return StatusError(
        f"The retrieved embeddings size [{found}] does not match the size specified in the settings [{wanted}]. "
        f"Please recreate the [{inference_id}] configuration with the correct dimensions"
    )
