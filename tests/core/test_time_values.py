"""Time values: the forms Elasticsearch takes, and its words for the others."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.core.errors import IllegalArgumentError
from sidecar.core.time_values import TimeValue, parse_time_value

NO_UNIT = "failed to parse setting [timeout] with value [{}] as a time value: unit is missing or unrecognized"


@pytest.mark.parametrize(
    ("text", "seconds", "shown"),
    [
        ("30s", 30, "30s"),
        (" 10 s ", 10, "10s"),
        ("30s\0", 30, "30s"),
        ("10S", 10, "10s"),
        ("5000000micros", 5, "5s"),
        ("1500ms", 1.5, "1.5s"),
        ("90s", 90, "1.5m"),
        ("1d", 86_400, "1d"),
        ("25h", 90_000, "1d"),
        ("1m", 60, "1m"),
        ("999nanos", 9.99e-7, "999nanos"),
        ("0", 0, "0s"),
        ("000", 0, "0s"),
        ("0ms", 0, "0s"),
        ("-1", 0, "-1"),
        ("-1s", 0, "-1"),
    ],
)
def test_reads_and_shows(text: str, seconds: float, shown: str) -> None:
    value = parse_time_value(text, "timeout")
    assert value.seconds == pytest.approx(seconds)
    assert str(value) == shown


@pytest.mark.parametrize(
    ("text", "reason", "cause"),
    [
        ("30", NO_UNIT.format("30"), None),
        ("", NO_UNIT.format(""), None),
        ("1M", NO_UNIT.format("1M"), None),
        ("-2", NO_UNIT.format("-2"), None),
        (
            "-5s",
            "failed to parse setting [timeout] with value [-5s] as a time value: negative durations are not supported",
            None,
        ),
        ("1.5s", "failed to parse [1.5s], fractional time values are not supported", 'For input string: "1.5"'),
        (
            "99999999999999999999s",
            "failed to parse [99999999999999999999s], fractional time values are not supported",
            'For input string: "99999999999999999999"',
        ),
        ("abcs", "failed to parse [abcs]", 'For input string: "abc"'),
        ("s", "failed to parse [s]", 'For input string: ""'),
    ],
)
def test_refuses_in_elasticsearchs_words(text: str, reason: str, cause: str | None) -> None:
    with pytest.raises(IllegalArgumentError) as raised:
        parse_time_value(text, "timeout")
    assert raised.value.reason == reason
    assert (raised.value.cause.reason if raised.value.cause else None) == cause


@given(st.integers(0, 2**40), st.sampled_from(["nanos", "micros", "ms", "s", "m", "h", "d"]), st.text(" ", max_size=3))
def test_every_whole_number_with_a_unit_is_read(count: int, unit: str, blank: str) -> None:
    assert parse_time_value(f"{count}{blank}{unit}", "x") == TimeValue(count, unit)


@given(st.integers(0, 10**15))
def test_the_shown_form_is_never_longer_than_the_value(nanos: int) -> None:
    shown = str(TimeValue(nanos, "nanos"))
    number = re.match(r"[\d.]+", shown)
    assert number is not None
    unit = shown[number.end() :]
    again = float(number.group()) * TimeValue(1, unit).seconds
    assert again <= nanos / 1e9 * (1 + 1e-9)
    assert again >= nanos / 1e9 * 0.9


@given(st.text(max_size=12))
def test_any_text_is_a_time_value_or_an_illegal_argument(text: str) -> None:
    try:
        assert parse_time_value(text, "x").seconds >= 0
    except IllegalArgumentError as error:
        assert error.reason is not None and error.reason.startswith("failed to parse")
