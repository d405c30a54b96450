"""The one way to make an Elasticsearch client, and its failures as sentences."""

from __future__ import annotations

import re
import ssl
from collections.abc import Sequence

from elastic_transport import TlsError
from elasticsearch import ApiError, AsyncElasticsearch, TransportError, UnsupportedProductError

from sidecar.settings import Settings, UserError

_REASON = 400
# aiohttp's words for a connection that could not be made, whose "ssl" stands there for plain HTTP too.
_NO_CONNECTION = re.compile(r"Cannot connect to host .*? ssl:.*? \[(?P<why>.*)\]", re.DOTALL)
_CALL_FAILED = "Connect call failed"


def create_client(settings: Settings) -> AsyncElasticsearch:
    """A client for the configured cluster, of the 8.19 line, which talks to 8.x and 9.x; close it after use.

    Raises :class:`UserError` when no cluster is configured.
    """
    if not settings.elasticsearch_urls:
        raise UserError(
            "Set SIDECAR_ELASTICSEARCH_URL to the address of an Elasticsearch, such as http://localhost:9200."
        )
    options: dict[str, object] = {}
    if settings.elasticsearch_api_key is not None:
        options["api_key"] = settings.elasticsearch_api_key.get_secret_value()
    if settings.elasticsearch_username is not None and settings.elasticsearch_password is not None:
        options["basic_auth"] = (
            settings.elasticsearch_username,
            settings.elasticsearch_password.get_secret_value(),
        )
    if any(url.startswith("https:") for url in settings.elasticsearch_urls):
        options["verify_certs"] = settings.elasticsearch_verify_certs
        options["ssl_show_warn"] = settings.elasticsearch_verify_certs
        if settings.elasticsearch_ca_certs is not None:
            options["ca_certs"] = str(settings.elasticsearch_ca_certs.expanduser())
    return AsyncElasticsearch(
        settings.elasticsearch_urls,
        request_timeout=settings.elasticsearch_timeout,
        **options,  # type: ignore[arg-type]
    )


def ssl_option(settings: Settings) -> ssl.SSLContext | bool:
    """How TLS connections to the cluster are checked, as aiohttp takes it: by a CA file, as usual, or not at all.

    Raises :class:`UserError` for a CA file that holds no certificate.
    """
    if not settings.elasticsearch_verify_certs:
        return False
    if settings.elasticsearch_ca_certs is None:
        return True
    path = settings.elasticsearch_ca_certs.expanduser()
    try:
        return ssl.create_default_context(cafile=str(path))
    except (OSError, ssl.SSLError) as error:
        raise UserError(f"SIDECAR_ELASTICSEARCH_CA_CERTS: {path} cannot be read as certificates: {error}.") from None


async def require_answer(client: AsyncElasticsearch, urls: Sequence[str]) -> None:
    """Returns when something answers at ``urls``, the client's: a refusal is an answer too.

    Raises :class:`UserError` that names the addresses, which hold no secrets (the settings refuse those that do).
    """
    try:
        await client.perform_request("HEAD", "/")
    except ApiError:
        return
    except TransportError as error:
        raise UserError(f"Elasticsearch cannot be reached at {' or '.join(urls)}: {failure_text(error)}.") from None


def failure_text(error: Exception) -> str:
    """What went wrong between the sidecar and Elasticsearch, in a few words without addresses or secrets."""
    if isinstance(error, ApiError):
        if isinstance(error, UnsupportedProductError):
            return "what answers there does not say that it is Elasticsearch"
        return f"status {error.status_code}, {_cause(error)}"
    if isinstance(error, TlsError):
        return "the TLS connection failed (see SIDECAR_ELASTICSEARCH_CA_CERTS)"
    if isinstance(error, TransportError):
        message = str(error.message)
        if unmade := _NO_CONNECTION.fullmatch(message):
            message = unmade["why"]
            if _CALL_FAILED in message:
                return "nothing answers there"
        words = message.split("(", 1)[0].strip().rstrip(":")
        return " ".join(words.split())[:200] or type(error).__name__
    return type(error).__name__


def _cause(error: ApiError) -> str:
    """Type and reason of a refusal, the reason cut: that of a missing privilege names it."""
    detail = error.body.get("error") if isinstance(error.body, dict) else None
    if not isinstance(detail, dict):
        return "without an explanation"
    kind, reason = detail.get("type") or "error", detail.get("reason")
    if not reason:
        return str(kind)
    words = " ".join(str(reason).split())
    return f"{kind}: {words[:_REASON]}" + ("..." if len(words) > _REASON else "")
