"""The one exception family of the sidecar, named after Elasticsearch's own error types.

    SidecarError                       type, status
    ├── StatusError                    status_exception, any status
    │   └── UpstreamError              a model provider failed; knows the provider's own words
    │       └── UpstreamChatError      the same for chat completions: unified_chat_completion_exception
    ├── ValidationError                validation_exception, 400; one or many messages
    │   └── ActionRequestValidationError   action_request_validation_exception, 400
    ├── IllegalArgumentError           illegal_argument_exception, 400
    ├── ParseError                     parse_exception, 400
    ├── XContentParseError             x_content_parse_exception, 400
    ├── MediaTypeError                 media_type_header_exception, 400
    ├── ResourceNotFoundError          resource_not_found_exception, 404
    ├── ResourceExistsError            resource_already_exists_exception, 400
    ├── SecurityError                  security_exception, 401 or 403
    ├── RequestTimeoutError            timeout_exception, 429 (the API layer maps it per generation)
    ├── RejectedExecutionError         es_rejected_execution_exception, 429
    ├── PlainError                     the short form {"error": "text", "status": n} of routing errors
    ├── OtherError                     any other type, used below ``caused_by``
    └── RelayedError                   what the cluster itself said, shown as it is

Every error carries ``type``, ``reason`` and ``status``; ``cause`` becomes ``caused_by`` in the envelope.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar


class SidecarError(Exception):
    """Base of all errors that reach a caller.

    ``is_elasticsearch_level`` says whether Elasticsearch's class is an ``ElasticsearchException``: the deepest of
    these in a chain of causes is what the envelope shows as ``root_cause``. ``is_within_stream`` marks failures after
    a provider began to stream: the caller's stream has begun as well, so its status is 200. ``is_of_the_form`` marks
    what is wrong with a body's form and found only here, not by the cluster that reads it too.
    ``warnings`` are deprecations that the caller hears of although the request failed.
    """

    type: str = "exception"
    default_status: ClassVar[int] = 500
    is_elasticsearch_level: bool = False
    is_within_stream: bool = False
    is_of_the_form: bool = False
    warnings: tuple[str, ...] = ()

    def __init__(
        self,
        reason: str | None,
        *,
        status: int | None = None,
        cause: SidecarError | None = None,
        suppressed: Iterable[SidecarError] = (),
        metadata: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.status = status if status is not None else self.default_status
        self.cause = cause
        self.suppressed = tuple(suppressed)
        self.metadata = dict(metadata or {})
        self.headers = dict(headers or {})

    @property
    def sentence(self) -> str | None:
        """The reason and, behind colons, what the causes add to it: for forms without a place for causes."""
        said, cause = self.reason, self.cause
        while said is not None and cause is not None:
            if cause.reason and cause.reason not in said:
                said = f"{said}: {cause.reason}"
            cause = cause.cause
        return said

    @property
    def root_cause(self) -> SidecarError:
        """The deepest cause that Elasticsearch would name in ``root_cause``; the error itself when there is none."""
        error = self
        while error.cause is not None and (
            (error.is_elasticsearch_level and error.cause.is_elasticsearch_level)
            or (
                isinstance(error, XContentParseError)
                and (error.cause.is_elasticsearch_level or isinstance(error.cause, XContentParseError))
            )
        ):
            error = error.cause
        return error


class StatusError(SidecarError):
    """An error with a status of its own: most inference errors and all upstream ones."""

    type = "status_exception"
    default_status = 400
    is_elasticsearch_level = True


class UpstreamError(StatusError):
    """A model provider answered with a failure, or with something that cannot be used.

    ``upstream_status`` is the provider's status (``None``: no answer). ``chat_type``, ``chat_code`` and
    ``chat_param`` are what a ``chat_completion`` caller sees in the OpenAI-style error object.
    """

    def __init__(
        self,
        reason: str | None,
        *,
        status: int,
        cause: SidecarError | None = None,
        upstream_status: int | None = None,
        chat_type: str | None = None,
        chat_code: str | None = None,
        chat_param: str | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(reason, status=status, cause=cause, metadata=metadata)
        self.upstream_status = upstream_status
        self.chat_type = chat_type
        self.chat_code = chat_code
        self.chat_param = chat_param


class UpstreamChatError(UpstreamError):
    """A provider's failure of a chat completion."""

    type = "unified_chat_completion_exception"


class ValidationError(SidecarError):
    """One or more settings or fields are wrong; all messages are reported together."""

    type = "validation_exception"
    default_status = 400

    def __init__(self, *messages: str) -> None:
        self.messages = messages
        numbered = "".join(f"{n}: {message};" for n, message in enumerate(messages, 1))
        super().__init__(f"Validation Failed: {numbered}")


class ActionRequestValidationError(ValidationError):
    type = "action_request_validation_exception"


class IllegalArgumentError(SidecarError):
    type = "illegal_argument_exception"
    default_status = 400


class ParseError(SidecarError):
    type = "parse_exception"
    default_status = 400
    is_elasticsearch_level = True


class XContentParseError(SidecarError):
    """A body that is not what its parser expects; ``reason`` starts with ``[line:column]``."""

    type = "x_content_parse_exception"
    default_status = 400


class MediaTypeError(SidecarError):
    type = "media_type_header_exception"
    default_status = 400


class ResourceNotFoundError(SidecarError):
    type = "resource_not_found_exception"
    default_status = 404
    is_elasticsearch_level = True


class ResourceExistsError(SidecarError):
    type = "resource_already_exists_exception"
    default_status = 400
    is_elasticsearch_level = True


class SecurityError(SidecarError):
    type = "security_exception"
    default_status = 403
    is_elasticsearch_level = True


class RequestTimeoutError(SidecarError):
    """The request's ``timeout`` ran out.

    Generations differ in status, type and text (408 ``status_exception`` up to 9.3, 429 ``timeout_exception`` from
    9.4), so the API layer renders it from ``timeout`` (as the caller wrote it) and ``inference_id``.
    """

    type = "timeout_exception"
    default_status = 429
    is_elasticsearch_level = True

    def __init__(self, timeout: str, inference_id: str) -> None:
        self.timeout = timeout
        self.inference_id = inference_id
        super().__init__(
            f"Request timed out after [{timeout}] for inference id [{inference_id}]",
            metadata={"timed_out": True},
        )


class RejectedExecutionError(SidecarError):
    """A queue is full; answered at once, so that the caller can go elsewhere or come back."""

    type = "es_rejected_execution_exception"
    default_status = 429


class PlainError(SidecarError):
    """Routing and content-type errors, which Elasticsearch writes as a bare string.

    ``show_status`` is false for unknown paths, whose body has no ``status`` field.
    """

    default_status = 400

    def __init__(
        self,
        reason: str,
        *,
        status: int | None = None,
        show_status: bool = True,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(reason, status=status, headers=headers)
        self.show_status = show_status


class OtherError(SidecarError):
    """An error of any other Elasticsearch or Java type, mostly below ``caused_by``."""

    def __init__(
        self,
        type: str,
        reason: str | None,
        *,
        status: int = 400,
        cause: SidecarError | None = None,
        metadata: Mapping[str, Any] | None = None,
        is_elasticsearch_level: bool = False,
    ) -> None:
        super().__init__(reason, status=status, cause=cause, metadata=metadata)
        self.type = type
        self.is_elasticsearch_level = is_elasticsearch_level


class RelayedError(SidecarError):
    """An error of the cluster, or one made up of such, in the envelope's own form: shown as it is."""

    def __init__(self, status: int, body: Mapping[str, Any]) -> None:
        error = body.get("error")
        described = error if isinstance(error, Mapping) else {}
        super().__init__(str(described.get("reason", error)), status=status)
        self.type = str(described.get("type", "exception"))
        self.body = {"error": error, "status": status}
