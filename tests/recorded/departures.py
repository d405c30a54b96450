"""Recorded cases the sidecar answers differently, each with its reason; the suite fails when any other differs.

Cases of services the sidecar does not have are left out of the comparison and do not stand here. Of generations before
8.19, only what their clients read is kept: routes, names, shapes, statuses.
"""

from __future__ import annotations

NO_INDEX = "needs an index with a semantic_text field, so an attached cluster"
YAML_WORDS = "the YAML parser's own words and place"
HONEST_MODEL = "a built-in endpoint says which local model really answers (answered_by)"
MERGED_SETTINGS = "task settings of a rerank request are honoured"
SMALL_TOP_N = "a top_n below one is no error"
NO_SECRET_NEEDED = "settings that are no secrets may change without the secret being sent again"
PROVIDER_WORDS = "the words about an unusable provider answer are the sidecar's parser's"
NEWEST_SERVICE = "the service has this setting or task type in every generation"
ALL_LEFTOVERS = "other leftover keys are named along"
NO_HANGING = "that generation waits or repeats until its timeout; the failure is answered at once"
RARE_WORDS = "rarer wordings of that generation are not kept"
TYPE_TOGETHER = "that generation reports a wrong type as a status_exception, alone"
NEWEST_DEFAULTS = "defaults of the newest generation"
NEWEST_PARSER = "that generation's JSON parser places or nests this error differently"
NO_SILENT_END = "a stream call answered with no stream is an error; Elasticsearch ends it as if all went well"
WORDS_IN_A_STREAM = "The words of an error in a completion's stream are told; Elasticsearch misses the choices in it."
HOSTED_BY_ELASTIC = "the service [elastic] is unknown: models that Elastic hosts answer to Elastic's own clusters"
EARLY_WARNING = "the deprecation is told although that generation does not yet"

VERSIONS = ("9.4.3", "8.19.8", "8.16.1", "8.14.1")

_BY_REASON: dict[str, dict[str, tuple[str, ...]]] = {
    NO_INDEX: {
        "9.4.3 8.19.8 8.16.1": (
            "delete/index-used-after-index-gone",
            "delete/index-used-dry-run",
            "delete/index-used-force",
        )
    },
    YAML_WORDS: {"9.4.3 8.19.8 8.16.1 8.14.1": ("formats/yaml-malformed",)},
    HONEST_MODEL: {
        "9.4.3 8.19.8": (
            "get/all",
            "get/all-star",
            "get/all-typed-star",
            "get/preconfigured-e5",
            "get/preconfigured-typed",
            "get/root",
        )
    },
    MERGED_SETTINGS: {"9.4.3 8.19.8": ("rerank/task-settings", "rerank/task-settings-bad")},
    SMALL_TOP_N: {"9.4.3 8.19.8": ("rerank/top-n-negative",)},
    NO_SECRET_NEEDED: {"9.4.3 8.19.8 8.16.1": ("update/max-input-tokens", "update/rate-limit")},
    NO_SILENT_END: {"9.4.3 8.19.8 8.16.1": ("stream/completion-malformed-upstream",)},
    PROVIDER_WORDS: {
        "9.4.3 8.19.8": (
            "upstream/completion-malformed",
            "upstream/create-dimensions-differ",
            "upstream/create-malformed",
            "upstream/create-rerank-shape",
        )
    },
    ALL_LEFTOVERS: {"8.19.8": ("create/deepseek-wrong-task-type",)},
    NEWEST_SERVICE: {
        "8.19.8 8.16.1 8.14.1": ("create/headers-task-setting",),
        "8.19.8": ("create/hf-completion-ok",),
        "8.16.1 8.14.1": ("create/cohere-dense-binary", "create/cohere-dense-bit"),
    },
    RARE_WORDS: {
        "8.16.1": (
            "create/alibabacloud-ai-search-sparse-embedding-task-settings",
            "create/alibabacloud-ai-search-text-embedding-task-settings",
            "create/azureaistudio-realtime-ok",
            "stream/completion-fail-404",
            "upstream/completion-malformed",
            "upstream/completion-wrong",
            "upstream/create-dimensions-differ",
            "upstream/create-malformed",
            "upstream/hf-dense-malformed",
            "upstream/hf-dense-wrong",
            "upstream/openai-wrong",
        ),
        "8.16.1 8.14.1": (
            "create/cohere-task-settings-bad",
            "create/duplicate-upstream-down",
            "create/url-ftp",
            "upstream/completion-empty",
            "upstream/create-empty",
            "upstream/create-openai-400",
            "upstream/create-openai-404",
            "upstream/openai-400",
            "upstream/openai-404",
            "upstream/openai-422",
            "upstream/openai-empty",
            "upstream/openai-empty-400",
            "upstream/openai-empty-404",
            "upstream/openai-html-404",
        ),
        "8.14.1": (
            "create/duplicate",
            "create/elasticsearch-empty",
            "create/elasticsearch-empty-rerank",
            "create/elasticsearch-no-model",
            "create/many-errors",
            "create/url-not-url",
            "create/url-space",
            "perform/completion-two-inputs",
        ),
    },
    NEWEST_DEFAULTS: {
        "8.16.1 8.14.1": ("create/cohere-input-type-ingest-upper", "create/cohere-task-settings-ok"),
        "8.14.1": ("create/hf-dense-ok", "create/hf-dimensions"),
    },
    NO_HANGING: {
        "8.16.1": ("perform/any-query", "perform/query", "perform/query-empty", "perform/query-sparse"),
        "8.14.1": (
            "upstream/cohere-429",
            "upstream/cohere-500",
            "upstream/completion-500",
            "upstream/completion-malformed",
            "upstream/completion-wrong",
            "upstream/create-dimensions-differ",
            "upstream/create-malformed",
            "upstream/create-openai-429",
            "upstream/create-openai-500",
            "upstream/create-openai-503",
            "upstream/hf-503",
            "upstream/hf-dense-malformed",
            "upstream/hf-dense-wrong",
            "upstream/hf-wrong",
            "upstream/openai-500",
            "upstream/openai-empty-500",
            "upstream/openai-html-500",
            "upstream/openai-wrong",
        ),
    },
    NEWEST_PARSER: {
        "8.16.1 8.14.1": ("perform/json-bad-escape",),
        "8.16.1": ("stream/completion-break", "stream/completion-empty-input", "stream/completion-junk"),
        "8.14.1": (
            "create/body-single-quotes",
            "perform/input-null-in-array",
            "perform/input-object-in-array",
            "perform/json-single-quotes",
        ),
    },
    TYPE_TOGETHER: {
        "8.14.1": (
            "create/api-key-list",
            "create/api-key-number",
            "create/body-big-number",
            "create/cohere-embedding-type-number",
            "create/cohere-rerank-task-settings-bad",
            "create/dimensions-list",
            "create/dimensions-negative",
            "create/dimensions-zero",
            "create/float-fraction",
            "create/model-id-number",
            "create/ok-float-integer",
            "create/ok-number-as-string",
            "create/similarity-number",
            "create/url-number",
            "create/user-number",
            "perform/task-settings-bad",
        )
    },
    HOSTED_BY_ELASTIC: {
        "9.4.3 8.19.8": (
            "create/elastic-chat-completion-task-settings",
            "create/elastic-sparse-embedding-empty",
            "create/elastic-sparse-embedding-task-settings",
            "create/elastic-unknown-top-level",
        ),
    },
    EARLY_WARNING: {"8.14.1": ("create/elser-bad-threads",)},
    WORDS_IN_A_STREAM: {"9.4.3 8.19.8": ("stream/completion-break",)},
}
"""Cases by the versions in which they differ, by reason."""

DEPARTURES: dict[str, dict[str, str]] = {
    version: {
        case: reason
        for reason, by_versions in _BY_REASON.items()
        for versions, cases in by_versions.items()
        if version in versions.split()
        for case in cases
    }
    for version in VERSIONS
}
"""Reason by case id, by version."""
