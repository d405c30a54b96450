"""Where endpoints live: stores in SQLite or Elasticsearch, encrypted secrets, and the cache in front of them."""

from sidecar.registry.registry import Registry, RegistryHealth, StoredEndpoint
from sidecar.registry.secrets import SecretCipher
from sidecar.registry.store import EndpointStore, Record, StoreUnavailableError

__all__ = [
    "EndpointStore",
    "Record",
    "Registry",
    "RegistryHealth",
    "SecretCipher",
    "StoreUnavailableError",
    "StoredEndpoint",
]
