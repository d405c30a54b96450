"""What decides an embedding, as a key: two inputs share one only where the same vector would come back.

    key = blake2b(identity of the model and of the way it is asked, the input)

For a local model that is the revision of its files, its precision and the input type, which chooses the prompt. For a
provider it is the request that would be sent: the service builds it for a fixed text, so whatever reaches the provider
(model, dimensions, the provider's own name of the input type) is in it, and what does not reach it is not. The endpoint
itself is in it too: another may stand for another account.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from hashlib import blake2b
from typing import Any

from sidecar.core.endpoint import Endpoint
from sidecar.core.requests import InferenceRequest, Input
from sidecar.runtime.catalog import LocalModelInfo
from sidecar.services.calls import Call
from sidecar.services.declaration import RemoteTask

KEY_BYTES = 20
_PLACEHOLDER = "text"
_FORM = "1"
"""Changes when packed embeddings or keys change their form, so that a file of an older version is not misread."""

# settings that say how much of a machine or of a provider's patience is used, not what is answered
_INDIFFERENT = frozenset(
    {
        "rate_limit",
        "batch_size",
        "max_batch_size",
        "num_allocations",
        "num_threads",
        "adaptive_allocations",
        "deployment_id",
        "answered_by",
    }
)


def local_identity(
    endpoint: Endpoint, model: LocalModelInfo, request: InferenceRequest, task_settings: Mapping[str, Any]
) -> bytes:
    """Identity of a local model as ``request`` asks it."""
    input_type = request.input_type.public.value if request.input_type else ""
    named = {"model_id", *_INDIFFERENT}
    decisive = {name: value for name, value in endpoint.service_settings.items() if name not in named}
    return _digest("local", endpoint.task_type, model.revision, model.precision, input_type, decisive, task_settings)


def remote_identity(service: str, task: RemoteTask, call: Call, created_at: datetime | None) -> bytes:
    """Identity of a provider's model as ``call`` asks it; ``call.token`` need not be there yet.

    Whoever deletes an endpoint and creates it anew starts anew: ``created_at`` is part of it. What is behind another
    endpoint may be another account's model, even where all settings look alike: so is the inference id.

    Raises:
        SidecarError: the service cannot build a request for the call.
    """
    sent = task.request(replace(call, inputs=(_PLACEHOLDER,), token=call.token or "-"))
    decisive = {name: value for name, value in call.settings.items() if name not in _INDIFFERENT}
    return _digest(
        service,
        call.inference_id,
        created_at,
        call.task_type,
        call.generation.name,
        sent.url,
        sent.body.hex(),
        decisive,
        dict(call.task_settings),
    )


def input_key(identity: bytes, item: Input) -> bytes:
    """The key of one input: a text, or the parts of one ``embedding`` input."""
    digest = blake2b(identity, digest_size=KEY_BYTES)
    if isinstance(item, str):
        digest.update(b"t" + item.encode("utf-8", "surrogatepass"))
    else:
        parts = [(part.type, part.format, part.value) for part in item.items]
        digest.update(b"g" + json.dumps(parts).encode())
    return digest.digest()


def _digest(*parts: Any) -> bytes:
    text = json.dumps([_FORM, *parts], sort_keys=True, default=str)
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=KEY_BYTES).digest()
