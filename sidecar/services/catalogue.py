"""All services: found by their modules, described by their declarations."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterable, Mapping
from typing import Any

import sidecar.services
from sidecar.core.endpoint import Endpoint
from sidecar.core.errors import StatusError
from sidecar.core.generations import Generation
from sidecar.core.tasks import TaskType
from sidecar.services.declaration import Service, Task
from sidecar.services.setting_kinds import RateLimit
from sidecar.services.settings import Listed, Setting


class Catalogue:
    """The services by name, in alphabetical order."""

    def __init__(self, services: Iterable[Service]) -> None:
        self._services = {service.name: service for service in sorted(services, key=lambda s: s.name)}

    @classmethod
    def discover(cls) -> Catalogue:
        """Every module of this package that has a ``SERVICE``: adding a provider needs no other place."""
        names = (module.name for module in pkgutil.iter_modules(sidecar.services.__path__))
        modules = (importlib.import_module(f"{sidecar.services.__name__}.{name}") for name in names)
        return cls(module.SERVICE for module in modules if hasattr(module, "SERVICE"))

    def __iter__(self) -> Any:
        return iter(self._services.values())

    def get(self, name: str) -> Service | None:
        return self._services.get(name)

    def refusal(self, endpoint: Endpoint) -> str | None:
        """Why a stored endpoint cannot be one of this version, ``None`` where it can."""
        service = self._services.get(endpoint.service)
        if service is None:
            return f"its service [{endpoint.service}] is unknown"
        if endpoint.task_type not in service.tasks:
            return f"its service [{service.name}] has no task type [{endpoint.task_type}]"
        task = service.tasks[endpoint.task_type]
        groups = ((task.settings, endpoint.service_settings), (task.task_settings, endpoint.task_settings))
        problems = (setting.stored_problem(values) for settings, values in groups for setting in settings)
        return next((problem for problem in problems if problem is not None), None)

    def service(self, name: str, generation: Generation) -> Service:
        """The service called ``name``.

        Raises:
            StatusError: the generation has no such service.
        """
        service = self._services.get(name)
        if service is None or not service.is_known(generation):
            raise StatusError(f"Unknown service [{name}]")
        return service

    def describe(self, task_type: TaskType | None, generation: Generation) -> list[dict[str, Any]]:
        """The body of ``GET _inference/_services``, for one task type or all."""
        return [
            describe(service, generation)
            for service in self
            if service.listed
            and service.is_known(generation)
            and (task_type is None or task_type in _listed_tasks(service, generation))
        ]


def _listed_tasks(service: Service, generation: Generation) -> dict[TaskType, Task]:
    found = ((task_type, service.task(task_type, generation)) for task_type in TaskType)
    return {task_type: task for task_type, task in found if task is not None and generation.at_least(task.listed_since)}


def describe(service: Service, generation: Generation) -> dict[str, Any]:
    """One service with its task types and configurations."""
    tasks = _listed_tasks(service, generation)
    title = service.title if generation.at_least("9.4") or service.older_title is None else service.older_title
    return {
        "service": service.name,
        "name": title,
        "task_types": [task_type.value for task_type in tasks],
        "configurations": _configurations(tasks, generation),
    }


def _configurations(tasks: Mapping[TaskType, Task], generation: Generation) -> dict[str, Any]:
    found: dict[str, tuple[Setting, Listed, bool, list[TaskType]]] = {}
    for task_type, task in tasks.items():
        groups = ((task.settings, False), (task.secrets, True), (task.task_settings, False))
        for setting, is_secret in ((s, is_secret) for group, is_secret in groups for s in group):
            listed = setting.listed
            if listed is None or (listed.since and not generation.at_least(listed.since)):
                continue
            entry = found.setdefault(setting.name, (setting, listed, is_secret, []))
            entry[3].append(task_type)
    return {
        "rate_limit.requests_per_minute" if isinstance(setting, RateLimit) else name: _configuration(
            setting,
            listed,
            is_secret,
            [t for t in listed.tasks if t in tasks] if listed.tasks else task_types,
            generation,
        )
        for name, (setting, listed, is_secret, task_types) in found.items()
    }


def _configuration(
    setting: Setting, listed: Listed, is_secret: bool, task_types: list[TaskType], generation: Generation
) -> dict[str, Any]:
    def given(value: bool | None, derived: bool) -> bool:
        return derived if value is None else value

    body: dict[str, Any] = {} if listed.default is None else {"default_value": listed.default}
    is_older = listed.older_description is not None and not generation.at_least("9.4")
    description = listed.older_description if is_older else listed.description
    if description is not None:
        body["description"] = description
    return body | {
        "label": listed.label,
        # one that is required up to a generation is optional from it on
        "required": given(listed.required, setting.required and setting.is_known(generation)),
        "sensitive": given(listed.sensitive, is_secret),
        "updatable": given(listed.updatable, is_secret),
        "type": listed.type or setting.list_type,
        "supported_task_types": [task_type.value for task_type in task_types],
    }
