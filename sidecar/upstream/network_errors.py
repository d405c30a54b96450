"""Failures of the network in Elasticsearch's words, which never quote what was sent."""

from __future__ import annotations

import errno
from urllib.parse import urlsplit

import aiohttp

from sidecar.core.addresses import masked_address
from sidecar.core.errors import OtherError, SidecarError, StatusError


class NetworkError(Exception):
    """No answer came. ``cause`` says why; ``is_final`` forbids another try; ``whole`` replaces the usual message."""

    def __init__(self, cause: SidecarError, *, is_final: bool = False, whole: StatusError | None = None) -> None:
        super().__init__(cause.reason)
        self.cause = cause
        self.is_final = is_final
        self.whole = whole


def network_error(error: Exception, url: str) -> NetworkError:
    """``error`` in Elasticsearch's words."""
    if isinstance(error, NetworkError):
        return error
    url = masked_address(url)
    host = urlsplit(url).hostname or ""
    if isinstance(error, (aiohttp.ClientConnectorDNSError, aiohttp.NonHttpUrlClientError, aiohttp.InvalidURL)):
        return _address_error(error, url, host)
    if isinstance(error, (aiohttp.ServerDisconnectedError, aiohttp.ClientPayloadError, ConnectionResetError)):
        return NetworkError(OtherError("connection_closed_exception", "Connection is closed"))
    if isinstance(error, (aiohttp.ServerTimeoutError, TimeoutError)):
        return NetworkError(OtherError("connect_timeout_exception", "Connection timed out"))
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return NetworkError(OtherError("ssl_handshake_exception", str(error.certificate_error)))
    number = getattr(error, "errno", None)
    if number == errno.ECONNREFUSED or isinstance(error, ConnectionRefusedError):
        return NetworkError(OtherError("connect_exception", "Connection refused"))
    return NetworkError(OtherError("i_o_exception", _words(error)))


def _words(error: Exception) -> str:
    """What went wrong without the library's own words, which may quote headers, keys among them."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    if isinstance(error, aiohttp.ClientResponseError):
        return "The answer is not valid HTTP"
    return type(error).__name__


def _address_error(error: Exception, url: str, host: str) -> NetworkError:
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        cause = OtherError("unknown_host_exception", f"{host}: Name or service not known")
        whole = StatusError(f"Invalid host [{url}], please check that the URL is correct.", status=400, cause=cause)
        return NetworkError(cause, is_final=True, whole=whole)
    scheme = urlsplit(url).scheme
    if not scheme:
        return NetworkError(OtherError("illegal_argument_exception", "HTTP host may not be null"), is_final=True)
    if scheme not in ("http", "https"):
        return NetworkError(OtherError("http_exception", f"{scheme} protocol is not supported"), is_final=True)
    cause = OtherError("client_protocol_exception", "URI does not specify a valid host name: " + url)
    return NetworkError(cause, is_final=True)
