"""Which model answers for an endpoint: the one that was loaded for it, whatever became of its files since."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from sidecar.core.endpoint import Endpoint
from sidecar.core.requests import InferenceRequest
from sidecar.core.tasks import TaskType
from sidecar.inference.local import LocalBackend
from sidecar.runtime.config import RuntimeConfig
from sidecar.runtime.errors import UnknownModelError
from sidecar.runtime.models import LocalModels
from tests.runtime.tiny import TinyModel


async def test_a_model_at_work_is_known_without_its_files(tmp_path: Path) -> None:
    TinyModel(tmp_path / "acme" / "mine").encoder()
    models = LocalModels(RuntimeConfig(models_dir=tmp_path))
    backend = LocalBackend(models)
    settings = {"model_id": "mine", "num_allocations": 1, "num_threads": 1}
    endpoint = Endpoint("e", TaskType.TEXT_EMBEDDING, "elasticsearch", settings)
    found = backend.model(endpoint)
    await backend.perform(endpoint, InferenceRequest(input=("tide",)), {})
    shutil.rmtree(tmp_path / "acme")
    assert backend.model(endpoint) == found == models.at_work("e")
    with pytest.raises(UnknownModelError):  # an endpoint of other settings is not what is at work
        backend.model(replace(endpoint, service_settings={**settings, "model_id": "other"}))
    await backend.undeploy("e")
    assert models.at_work("e") is None
    with pytest.raises(UnknownModelError):
        backend.model(endpoint)
    await models.close()
