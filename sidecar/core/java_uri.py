"""Whether Java's ``java.net.URI`` takes a text, in its words.

Source: Java API, ``java.net.URI`` (RFC 2396 with its deviations).
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

from sidecar.core.errors import OtherError

_ALNUM = "A-Za-z0-9"
# what every part may hold besides its own characters: an escape, or anything beyond ASCII that is no space or control
_ANY = r"|%[0-9A-Fa-f]{2}|[^\x00-\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]"
_UNRESERVED = rf"{_ALNUM}_\-!.~'()*"
_URIC = re.compile(rf"(?:[{_UNRESERVED};/?:@&=+$,\[\]]{_ANY})*")
_PATH = re.compile(rf"(?:[{_UNRESERVED}:@&=+$,;/]{_ANY})*")
_REGISTERED_NAME = re.compile(rf"(?:[{_UNRESERVED}$,;:@&=+]{_ANY})*")
_SERVER = re.compile(rf"(?:[{_UNRESERVED};:&=+$,@\[\]]{_ANY})*")
_HOST = re.compile(rf"[{_ALNUM}.\-]*")
_PORT = re.compile(r"[0-9]*")
_SCHEME = re.compile(rf"[{_ALNUM}+.\-]*")


@dataclass(frozen=True, slots=True)
class UriProblem:
    """Java's reason, and the place in the text."""

    reason: str
    index: int

    def __str__(self) -> str:
        return f"{self.reason} at index {self.index}"


def uri_problem(text: str) -> UriProblem | None:
    """Why ``text`` is no URI, ``None`` when it is one."""
    colon = re.match(r"[^/?#:]*", text)
    start = colon.end() if colon else 0
    if text[start : start + 1] != ":":
        return _hierarchical(text, 0)
    if start == 0:
        return UriProblem("Expected scheme name", 0)
    if not (text[0].isascii() and text[0].isalpha()):
        return UriProblem("Illegal character in scheme name", 0)
    end = _SCHEME.match(text, 1, start)
    if end is None or end.end() < start:
        return UriProblem("Illegal character in scheme name", end.end() if end else 1)
    start += 1
    if text[start : start + 1] == "/":
        return _hierarchical(text, start)
    fragment = _find(text, "#", start)
    if fragment == start:
        return UriProblem("Expected scheme-specific part", start)
    return _checked(text, start, fragment, _URIC, "opaque part") or _fragment(text, fragment)


def uri_refusal(text: str) -> OtherError | None:
    """The error of a request with ``text`` as an address, ``None`` when it is one."""
    problem = uri_problem(text)
    if problem is None:
        return None
    cause = OtherError("u_r_i_syntax_exception", f"{problem}: {text}")
    reason = f"unable to parse url [{text}]. Reason: {problem.reason}"
    return OtherError("illegal_argument_exception", reason, cause=cause)


def _hierarchical(text: str, start: int) -> UriProblem | None:
    """From the authority, where there is one, to the end."""
    if text.startswith("//", start):
        start += 2
        end = _find(text, "/?#", start)
        if end == start == len(text):
            return UriProblem("Expected authority", start)
        if end > start and (problem := _authority(text, start, end)):
            return problem
        start = end
    query = _find(text, "?#", start)
    if problem := _checked(text, start, query, _PATH, "path"):
        return problem
    fragment = query
    if text[query : query + 1] == "?":
        fragment = _find(text, "#", query + 1)
        if problem := _checked(text, query + 1, fragment, _URIC, "query"):
            return problem
    return _fragment(text, fragment)


def _authority(text: str, start: int, end: int) -> UriProblem | None:
    """A registered name is taken as it is; only a host in brackets is looked into."""
    refused = _checked(text, start, end, _REGISTERED_NAME, "authority")
    if refused is None or not _SERVER.fullmatch(text, start, end):
        return refused
    host = start + text[start:end].rfind("@") + 1
    if host > start and (problem := _checked(text, start, host - 1, _REGISTERED_NAME, "user info")):
        return problem
    if not text.startswith("[", host, end):
        return _checked(text, host, end, _HOST, "hostname")
    close = text.find("]", host, end)
    if close <= host + 1:
        return UriProblem("Expected closing bracket for IPv6 address", end if close < 0 else close)
    try:
        ipaddress.IPv6Address(text[host + 1 : close])
    except ValueError:
        return UriProblem("Malformed IPv6 address", host + 1)
    close += 1
    if close < end and text[close] != ":":
        return UriProblem("Expected port number", close)
    return _checked(text, close + 1, end, _PORT, "port number") if close < end else None


def _fragment(text: str, start: int) -> UriProblem | None:
    return _checked(text, start + 1, len(text), _URIC, "fragment") if start < len(text) else None


def _find(text: str, stops: str, start: int) -> int:
    """Where the first of ``stops`` is, or the end."""
    found = (text.find(stop, start) for stop in stops)
    return min((at for at in found if at >= 0), default=len(text))


def _checked(text: str, start: int, end: int, allowed: re.Pattern[str], part: str) -> UriProblem | None:
    match = allowed.match(text, start, end)
    stopped = match.end() if match else start
    if stopped == end:
        return None
    return UriProblem("Malformed escape pair" if text[stopped] == "%" else _illegal(part), stopped)


def _illegal(part: str) -> str:
    return f"Illegal character in {part}"
