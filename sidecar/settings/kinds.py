"""Kinds of values that settings take: times, sizes, maps, lists, addresses. Each reads the text of a variable.

A kind raises ``ValueError`` with words that follow "must be", so that every message reads alike.
"""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, PlainSerializer
from pydantic_settings import NoDecode

_TIME = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)?")
_TIME_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*(b|kb|mb|gb)?")
_PORTS = {"http": 80, "https": 443}
_SIZE_UNITS = {"b": 1, "kb": 2**10, "mb": 2**20, "gb": 2**30}


def parse_time(value: object) -> float:
    """Seconds of ``500ms``, ``30s``, ``2m``, ``1h``, ``1d`` or of a bare number of seconds."""
    match = _TIME.fullmatch(str(value).strip().lower())
    if match is None or isinstance(value, bool):
        raise ValueError("a time such as 500ms, 30s or 2m")
    return float(match[1]) * _TIME_UNITS[match[2] or "s"]


def parse_size(value: object) -> int:
    """Bytes of ``512kb``, ``100mb``, ``1gb`` or of a bare number of bytes; units are powers of 1024."""
    match = _SIZE.fullmatch(str(value).strip().lower())
    if match is None or isinstance(value, bool):
        raise ValueError("a size such as 512kb, 100mb or 1gb")
    return int(float(match[1]) * _SIZE_UNITS[match[2] or "b"])


def time_text(seconds: float) -> str:
    """The shortest way to write a time: ``1s``, ``500ms``, ``2m``."""
    for unit in ("d", "h", "m", "s"):
        if seconds >= _TIME_UNITS[unit] and seconds % _TIME_UNITS[unit] == 0:
            return f"{seconds / _TIME_UNITS[unit]:.0f}{unit}"
    return f"{seconds * 1000:.3f}".rstrip("0").rstrip(".") + "ms"


def size_text(size: int) -> str:
    """The shortest way to write a size: ``100mb``, ``512kb``, ``10b``."""
    for unit in ("gb", "mb", "kb"):
        if size and size % _SIZE_UNITS[unit] == 0:
            return f"{size // _SIZE_UNITS[unit]}{unit}"
    return f"{size}b"


def parse_map(value: object) -> Mapping[str, str]:
    """A map of texts, from a JSON object or a table of a settings file."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except json.JSONDecodeError:
            value = None
    if not isinstance(value, Mapping) or not all(isinstance(item, str) for item in value.values()):
        raise ValueError('a JSON object of texts such as {"name": "value"}')
    return {str(key): item for key, item in value.items()}


def parse_precision(value: object) -> Mapping[str, str]:
    """``exact`` or ``int8`` for all models, or a JSON object from model name to one of the two."""
    text = value.strip().lower() if isinstance(value, str) else value
    if text in ("exact", "int8"):
        return {"*": str(text)}
    try:
        precision = {key: item.strip().lower() for key, item in parse_map(value).items()}
    except ValueError:
        precision = {"": ""}
    if not set(precision.values()) <= {"exact", "int8"}:
        raise ValueError('exact, int8, or a JSON object such as {"splade-tiny": "int8"}')
    return precision


def parse_lengths(value: object) -> Mapping[str, int]:
    """A map of positive whole numbers, from a JSON object or a table of a settings file."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except json.JSONDecodeError:
            value = None
    whole = isinstance(value, Mapping) and all(type(item) is int and item > 0 for item in value.values())
    if not isinstance(value, Mapping) or not whole:
        raise ValueError('a JSON object of positive whole numbers such as {"name": 256}')
    return {str(key): item for key, item in value.items()}


def parse_names(value: object) -> tuple[str, ...]:
    """Names, from ``a,b``, a JSON list or a list of a settings file."""
    if isinstance(value, str) and value.lstrip().startswith("["):
        try:
            value = json.loads(value)
        except json.JSONDecodeError:
            value = None
    if isinstance(value, str):
        value = [name.strip() for name in value.split(",") if name.strip()]
    if not isinstance(value, (list, tuple)) or not all(isinstance(name, str) for name in value):
        raise ValueError("names separated by commas")
    return tuple(value)


def check_urls(value: str) -> str:
    """One or several base URLs, separated by commas, without credentials in them; each address once, with its port."""
    urls: dict[tuple[str, str, int, str], str] = {}
    for text in value.split(","):
        if url := text.strip().rstrip("/"):
            urls.setdefault(*_address(url))
    if not urls:
        raise ValueError("an address such as https://localhost:9200")
    return ",".join(urls.values())


def _address(url: str) -> tuple[tuple[str, str, int, str], str]:
    """What makes two spellings one address, and the URL with its port, without which the client takes none."""
    try:
        parts = urlsplit(url)
        given = parts.port
    except ValueError:  # a port that there cannot be, half an IPv6 address
        raise ValueError("an address such as https://localhost:9200") from None
    if parts.scheme not in _PORTS or not parts.hostname:
        raise ValueError("an address such as https://localhost:9200")
    if parts.username or parts.password:
        raise ValueError(
            "an address without user and password in it (use SIDECAR_ELASTICSEARCH_USERNAME and _PASSWORD)"
        )
    port = _PORTS[parts.scheme] if given is None else given
    if given is None:
        url = parts._replace(netloc=f"{parts.netloc.removesuffix(':')}:{port}").geturl()
    return (parts.scheme, parts.hostname, port, parts.path), url


def check_base_urls(value: Mapping[str, str]) -> Mapping[str, str]:
    """A map whose values are base URLs."""
    for url in value.values():
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(
                'a JSON object from host, host pattern or * to a base URL, such as {"*": "http://[::1]:9"}'
            )
    return value


def is_loopback(host: str) -> bool:
    """True for ``localhost`` and loopback addresses, which no other machine reaches."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def _lower(value: Any) -> Any:
    return value.strip().lower() if isinstance(value, str) else value


@dataclass(frozen=True, slots=True)
class Kind:
    """What the documentation calls values of a kind."""

    name: str


Seconds = Annotated[float, BeforeValidator(parse_time), PlainSerializer(time_text), Kind("time")]
Bytes = Annotated[int, BeforeValidator(parse_size), PlainSerializer(size_text), Kind("size")]
TextMap = Annotated[Mapping[str, str], NoDecode, BeforeValidator(parse_map), Kind("JSON object")]
BaseUrlMap = Annotated[
    Mapping[str, str], NoDecode, BeforeValidator(parse_map), AfterValidator(check_base_urls), Kind("JSON object")
]
LengthMap = Annotated[Mapping[str, int], NoDecode, BeforeValidator(parse_lengths), Kind("JSON object")]
PrecisionMap = Annotated[Mapping[str, str], NoDecode, BeforeValidator(parse_precision), Kind("word or JSON object")]
Names = Annotated[tuple[str, ...], NoDecode, BeforeValidator(parse_names), Kind("list")]
Urls = Annotated[str, AfterValidator(check_urls), Kind("address")]
LowerCase = BeforeValidator(_lower)
