"""How many texts ingestion sends to a provider at once: what the user chose, what the service declares, its limit."""

from __future__ import annotations

from typing import Any

import pytest

from sidecar.core.tasks import TaskType
from sidecar.services.catalogue import Catalogue
from sidecar.services.declaration import RemoteTask

CATALOGUE = {service.name: service for service in Catalogue.discover()}


def batch(service: str, settings: dict[str, Any], task_type: TaskType = TaskType.TEXT_EMBEDDING) -> int:
    task = CATALOGUE[service].tasks[task_type]
    assert isinstance(task, RemoteTask)
    return task.ingest_batch(settings)


@pytest.mark.parametrize(
    ("service", "settings", "wanted"),
    [
        ("openai", {}, 2048),
        ("azureopenai", {}, 2048),
        ("azureaistudio", {}, 2048),
        ("jinaai", {}, 2048),
        ("cohere", {}, 96),
        ("hugging_face", {}, 20),
        ("llama", {}, 20),
        ("nvidia", {}, 20),
        ("openshift_ai", {}, 20),
        ("mistral", {}, 96),
        ("googleaistudio", {}, 100),
        ("watsonxai", {}, 1000),
        ("alibabacloud-ai-search", {}, 32),
        ("fireworksai", {}, 256),
        ("amazonbedrock", {"provider": "AMAZONTITAN"}, 1),
        ("amazonbedrock", {"provider": "COHERE"}, 96),
        ("voyageai", {"model_id": "voyage-3-lite"}, 30),
        ("voyageai", {"model_id": "voyage-3"}, 10),
        ("voyageai", {"model_id": "voyage-2"}, 72),
        ("voyageai", {"model_id": "voyage-3-large"}, 7),
        ("googlevertexai", {}, 250),
        ("googlevertexai", {"max_batch_size": 3}, 3),
        ("custom", {"batch_size": 10}, 10),
        ("custom", {"batch_size": 300}, 300),
        ("amazon_sagemaker", {}, 256),
        ("amazon_sagemaker", {"batch_size": 4}, 4),
    ],
)
def test_batches_of_dense_vectors(service: str, settings: dict[str, Any], wanted: int) -> None:
    assert batch(service, settings) == wanted


def test_batches_of_token_weights() -> None:
    names = ("hugging_face", "hugging_face_elser", "alibabacloud-ai-search")
    assert [batch(name, {}, TaskType.SPARSE_EMBEDDING) for name in names] == [20, 20, 32]
