"""Writes docs/services/README.md: the services, their task types, secrets and rate limits, from their declarations.

python -m tools.service_index
"""

from __future__ import annotations

from pathlib import Path

from sidecar.core.tasks import TaskType
from sidecar.services.catalogue import Catalogue
from sidecar.services.declaration import Service, Task
from sidecar.services.setting_kinds import RateLimit

DOCUMENT = Path(__file__).parent.parent / "docs" / "services" / "README.md"
_HEAD = """# Services

Each service has a page of its own. Rate limits are the defaults, in calls of one endpoint a minute.
\\* Elasticsearch has no such service. `make tables` writes this table anew.

| service | task types | secrets | rate limit |
|---|---|---|---|
"""


def document() -> str:
    """The whole page."""
    return _HEAD + "".join(_row(service) for service in Catalogue.discover())


def _row(service: Service) -> str:
    secrets = dict.fromkeys(setting.name for task in service.tasks.values() for setting in task.secrets)
    name = f"[`{service.name}`]({service.name}.md)"
    cells = (
        name if service.in_elasticsearch else f"{name} \\*",
        ", ".join(f"`{task_type.value}`" for task_type in TaskType if task_type in service.tasks),
        ", ".join(f"`{name}`" for name in secrets) or "none",
        _limits(service),
    )
    return f"| {' | '.join(cells)} |\n"


def _limits(service: Service) -> str:
    limits = {task_type: _limit(task) for task_type, task in service.tasks.items()}
    different = dict.fromkeys(limits.values())
    if len(different) == 1:
        (limit,) = different
        return "none" if limit is None else str(limit)
    by_limit = ((limit, [t.value for t in TaskType if t in limits and limits[t] == limit]) for limit in different)
    return "; ".join(f"{limit or 'none'} ({', '.join(names)})" for limit, names in by_limit)


def _limit(task: Task) -> int | None:
    return next((s.requests_per_minute for s in task.settings if isinstance(s, RateLimit)), None)


if __name__ == "__main__":
    DOCUMENT.write_text(document())
