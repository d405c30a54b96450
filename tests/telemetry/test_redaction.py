"""No secret reaches a log line, whatever field or text it hides in."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from sidecar.core.endpoint import Secrets
from sidecar.telemetry import configure_logging
from sidecar.telemetry.redaction import REDACTED, is_secret_name, redact

SECRET = "sk-nobody-may-see-this"
NAMES = st.sampled_from(["api_key", "a", "token", "b"])
EVENTS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
)


@pytest.fixture(autouse=True)
def _logging_as_before() -> Iterator[None]:
    root = logging.getLogger()
    before, level = list(root.handlers), root.level
    client = logging.getLogger("elastic_transport")
    client_level = client.level
    yield
    root.handlers = before
    root.setLevel(level)
    client.setLevel(client_level)
    structlog.reset_defaults()


@pytest.mark.parametrize(
    "name",
    ["api_key", "apiKey", "API-KEY", "x-api-key", "Authorization", "proxy-authorization", "password", "session_token",
     "accessToken", "client_secret", "secrets", "secret_key", "aws_secret_access_key", "private_key", "Set-Cookie",
     "credentials", "Ocp-Apim-Subscription-Key", "passwd", "apikey"],
)  # fmt: skip
def test_names_of_secrets(name: str) -> None:
    assert is_secret_name(name)


@pytest.mark.parametrize(
    "name",
    ["tokens", "queued_tokens", "token_count", "inference_id", "model", "key", "primary_key", "secrets_id", "status",
     "max_tokens", "tokenise_seconds", "", "event", "cause", "url"],
)  # fmt: skip
def test_names_of_other_things(name: str) -> None:
    assert not is_secret_name(name)


@pytest.mark.parametrize(
    "value",
    [
        {"api_key": SECRET},
        {"settings": {"nested": [{"password": SECRET}]}},
        {"headers": {"Authorization": f"Bearer {SECRET}"}},
        {"cause": f"called with Bearer {SECRET} and failed"},
        {"cause": f"ApiKey {SECRET}"},
        {"url": f"https://user:{SECRET}@host:9200/path"},
        {"body": SECRET.encode()},
        {"endpoint": Secrets({"anything": SECRET})},
        {"args": ("x", {"token": {"deep": SECRET}})},
    ],
)
def test_secrets_are_replaced_wherever_they_stand(value: dict[str, object]) -> None:
    assert SECRET not in str(redact(None, "info", dict(value)))


def test_what_is_too_deep_to_be_looked_at_is_not_logged() -> None:
    value: object = {"password": SECRET}
    for _ in range(20):
        value = [value]
    assert SECRET not in str(redact(None, "info", {"value": value}))


@given(EVENTS)
def test_any_event_keeps_its_shape(value: object) -> None:
    def expected(item: object, name: str = "") -> object:
        if name in ("api_key", "token") and item is not None and not isinstance(item, bool):
            return REDACTED
        if isinstance(item, dict):
            return {key: expected(inner, key) for key, inner in item.items()}
        return [expected(inner) for inner in item] if isinstance(item, list) else item

    # Texts that look like credentials are another test's matter.
    if "://" not in str(value) and not any(scheme in str(value).lower() for scheme in ("bearer", "apikey", "basic")):
        depth = str(value).count("{") + str(value).count("[")
        if depth <= 5:
            assert redact(None, "info", {"value": value}) == {"value": expected(value)}


def lines(stream: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_json_lines_carry_level_time_and_what_is_bound_to_the_request() -> None:
    stream = io.StringIO()
    configure_logging(form="json", level="info", stream=stream)
    with structlog.contextvars.bound_contextvars(request_id="r1"):
        structlog.get_logger("a").info("one", api_key=SECRET, tokens=3)
        structlog.get_logger("a").debug("not shown")
        logging.getLogger("b").warning("two %s", f"Bearer {SECRET}")
        try:
            int(f"Bearer {SECRET}")
        except ValueError:
            structlog.get_logger("a").exception("three")
    structlog.get_logger("a").info("four")
    one, two, three, four = lines(stream)
    assert [line["message"] for line in (one, three, four)] == ["one", "three", "four"]
    assert (one["tokens"], one["level"], one["request_id"]) == (3, "info", "r1")
    assert (two["level"], two["logger"], two["request_id"]) == ("warning", "b", "r1")
    assert "ValueError" in str(three["exception"])
    assert "request_id" not in four
    assert all("timestamp" in line for line in (one, two, three, four))
    assert SECRET not in stream.getvalue()


def test_the_console_form_is_for_the_eye_and_as_silent_about_secrets() -> None:
    stream = io.StringIO()
    configure_logging(form="console", stream=stream)
    structlog.get_logger().warning("something", password=SECRET, model="m")
    assert SECRET not in stream.getvalue()
    assert "something" in stream.getvalue()
    assert "model=m" in stream.getvalue()


def test_auto_is_json_off_a_terminal() -> None:
    stream = io.StringIO()
    configure_logging(stream=stream)
    structlog.get_logger().info("x", number=float("nan"), odd=object())
    assert lines(stream)[0]["message"] == "x"


def test_a_command_says_once_what_goes_wrong_the_same_way_many_times() -> None:
    stream = io.StringIO()
    configure_logging(form="json", stream=stream, without_repeats=True)
    log = structlog.get_logger()
    for number in range(3):
        log.warning("call_failed", reason="refused")
        log.error("call_failed", reason="refused")
        log.warning("call_failed", reason=f"refused {number % 2}")
        try:
            int(f"x{number}")
        except ValueError:
            log.exception("failed")
    said = [(line["level"], line["message"], line.get("reason")) for line in lines(stream)]
    assert said == [
        ("warning", "call_failed", "refused"),
        ("error", "call_failed", "refused"),
        ("warning", "call_failed", "refused 0"),
        ("error", "failed", None),
        ("warning", "call_failed", "refused 1"),
        ("error", "failed", None),
        ("error", "failed", None),
    ]
