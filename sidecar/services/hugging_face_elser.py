"""ELSER behind a Hugging Face endpoint: the sparse route of ``hugging_face`` under its older name.

Source: Text Embeddings Inference API, route ``/embed_sparse``.
"""

from __future__ import annotations

from sidecar.core.tasks import TaskType
from sidecar.services.declaration import Service
from sidecar.services.hugging_face_shapes import sparse_task

SERVICE = Service(
    name="hugging_face_elser",
    title="Hugging Face ELSER",
    listed=False,
    tasks={TaskType.SPARSE_EMBEDDING: sparse_task("Hugging Face ELSER", "8.11")},
)
