"""Texts that are URIs for Java, and its reasons for refusing others, as Java 25 gives them."""

from __future__ import annotations

import pytest

from sidecar.core.java_uri import uri_problem


@pytest.mark.parametrize(
    "text",
    ["", "http://x", "http:///", "http://?a", "a/b", "http://h:99999/", "http://[::1]:80/", "mailto:x", "http://h?[a]"],
)
def test_taken(text: str) -> None:
    assert uri_problem(text) is None


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("x://", "Expected authority at index 4"),
        (":", "Expected scheme name at index 0"),
        ("http:", "Expected scheme-specific part at index 5"),
        ("1http://x", "Illegal character in scheme name at index 0"),
        ("htt p://x", "Illegal character in scheme name at index 3"),
        ("mailto:a b", "Illegal character in opaque part at index 8"),
        ("http://x y", "Illegal character in authority at index 8"),
        ("http://[::1", "Expected closing bracket for IPv6 address at index 11"),
        ("http://[::1]:80a/", "Illegal character in port number at index 15"),
        ("http://[::1]_", "Expected port number at index 12"),
        ("http://u@h[/", "Illegal character in hostname at index 10"),
        ("http://[$@?", "Illegal character in user info at index 7"),
        ("http://h/[a]", "Illegal character in path at index 9"),
        ("http://h/%zz", "Malformed escape pair at index 9"),
        ("http://h?a=b c", "Illegal character in query at index 12"),
        ("http://h#a^b", "Illegal character in fragment at index 10"),
    ],
)
def test_refused(text: str, problem: str) -> None:
    assert str(uri_problem(text)) == problem
