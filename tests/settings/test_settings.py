"""Settings: where they come from, what wrong ones are told, what is shown of them."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.elastic.client import create_client
from sidecar.settings import MASK, Settings, UserError, load_settings, unknown_settings
from sidecar.settings.documentation import is_secret, settings_markdown
from sidecar.settings.kinds import parse_size, parse_time, size_text, time_text

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _only_what_a_test_sets(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    for name in Settings.model_fields:
        monkeypatch.delenv(f"SIDECAR_{name.upper()}", raising=False)


def refused(**values: str) -> str:
    with pytest.raises(UserError) as caught:
        load_settings(values)
    return str(caught.value)


def test_the_defaults_are_usable_and_listen_on_loopback_only() -> None:
    settings = load_settings()
    assert (settings.host, settings.port, settings.api_generation) == ("127.0.0.1", 9800, "9.4")
    assert settings.elasticsearch_urls == []
    assert settings.data_path.is_absolute()


def test_flags_come_before_environment_before_dotenv_before_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text("port: 1\nhost: file\nlog_level: error\nqueue_items: 4\nSIDECAR_BATCH_TOKENS: 5\n")
    (tmp_path / ".env").write_text(f"SIDECAR_CONFIG_FILE={file}\nSIDECAR_PORT=2\nSIDECAR_HOST=dotenv\n")
    monkeypatch.setenv("SIDECAR_PORT", "3")
    monkeypatch.setenv("SIDECAR_LOG_LEVEL", "")
    settings = load_settings({"queue_items": "6", "host": None})
    assert (settings.port, settings.host, settings.log_level) == (3, "dotenv", "error")
    assert (settings.queue_items, settings.batch_tokens) == (6, 5)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("s.toml", 'retry_timeout = "1m"\npreload_models = ["a", "b"]\n[model_aliases]\n".elser_model_2" = "a"\n'),
        ("s.yml", "retry_timeout: 1m\npreload_models: [a, b]\nmodel_aliases: {.elser_model_2: a}\n"),
    ],
)
def test_files_hold_maps_and_lists(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    settings = load_settings({"config_file": tmp_path / name})
    assert (settings.retry_timeout, settings.preload_models) == (60.0, ("a", "b"))
    assert settings.model_aliases == {".elser_model_2": "a"}


@pytest.mark.parametrize("text", ["port: [", "- a", "port = "])
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, text: str) -> None:
    for name in ("s.toml", "s.yaml"):
        (tmp_path / name).write_text(text)
        if name == "s.yaml" and text == "port = ":
            assert "must hold names and values" in refused(config_file=str(tmp_path / name))
        else:
            assert str(tmp_path / name) in refused(config_file=str(tmp_path / name))
    assert "cannot read" in refused(config_file=str(tmp_path / "absent.toml"))


def test_maps_lists_times_and_sizes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIDECAR_UPSTREAM_OVERRIDES", '{"*": "http://127.0.0.1:1", "*.azure.com": "http://[::1]:2"}')
    monkeypatch.setenv("SIDECAR_PRELOAD_MODELS", "splade-tiny, bge-small-en-v1.5")
    monkeypatch.setenv("SIDECAR_MODEL_PRECISION", "INT8")
    monkeypatch.setenv("SIDECAR_RETRY_INITIAL_DELAY", "500ms")
    monkeypatch.setenv("SIDECAR_MAX_BODY_SIZE", "2MB")
    monkeypatch.setenv("SIDECAR_ELASTICSEARCH_URL", "http://a:9200/, https://b:9200")
    monkeypatch.setenv("SIDECAR_MODEL_DIMENSIONS", '{"mine": 256}')
    settings = load_settings()
    assert settings.model_dimensions == {"mine": 256}
    assert settings.upstream_overrides["*.azure.com"] == "http://[::1]:2"
    assert settings.preload_models == ("splade-tiny", "bge-small-en-v1.5")
    assert settings.model_precision == {"*": "int8"}
    assert (settings.retry_initial_delay, settings.max_body_size) == (0.5, 2 * 1024 * 1024)
    assert settings.elasticsearch_urls == ["http://a:9200", "https://b:9200"]


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("elasticsearch_url", "http://a:99999", "SIDECAR_ELASTICSEARCH_URL must be an address such as"),
        ("elasticsearch_url", "http://a:9200,http://[::1", "SIDECAR_ELASTICSEARCH_URL must be an address such as"),
        ("port", "abc", "SIDECAR_PORT must be a valid integer"),
        ("port", "70000", "SIDECAR_PORT must be less than or equal to 65535"),
        ("api_generation", "8.10", "SIDECAR_API_GENERATION must be a version of Elasticsearch from 8.11 on, or auto"),
        ("log_level", "loud", "SIDECAR_LOG_LEVEL must be 'debug', 'info'"),
        ("retry_timeout", "soon", "SIDECAR_RETRY_TIMEOUT must be a time such as 500ms"),
        ("max_body_size", "big", "SIDECAR_MAX_BODY_SIZE must be a size such as"),
        ("upstream_overrides", "[1]", "SIDECAR_UPSTREAM_OVERRIDES must be a JSON object"),
        ("upstream_overrides", '{"*": "nowhere"}', "SIDECAR_UPSTREAM_OVERRIDES must be a JSON object from host"),
        ("model_precision", "fp16", "SIDECAR_MODEL_PRECISION must be exact, int8"),
        ("model_dimensions", '{"mine": 0}', "SIDECAR_MODEL_DIMENSIONS must be a JSON object of positive whole numbers"),
        ("model_dimensions", "256", "SIDECAR_MODEL_DIMENSIONS must be a JSON object of positive whole numbers"),
        ("elasticsearch_url", "localhost:9200", "SIDECAR_ELASTICSEARCH_URL must be an address such as"),
        ("elasticsearch_ca_certs", "/absent.pem", "SIDECAR_ELASTICSEARCH_CA_CERTS: there is no file /absent.pem"),
    ],
)
def test_a_wrong_value_is_told_what_to_change(name: str, value: str, said: str) -> None:
    sentence = refused(**{name: value})
    assert sentence.startswith(said)
    assert "\n" not in sentence


@pytest.mark.parametrize(
    ("value", "urls"),
    [
        ("http://a:9200,http://a:9200/", ["http://a:9200"]),
        ("http://a:9200,http://b:9200,HTTP://A:9200", ["http://a:9200", "http://b:9200"]),
        ("http://a,http://a:80", ["http://a:80"]),
        ("https://a/es/,https://a:443/es,https://a", ["https://a:443/es", "https://a:443"]),
        ("http://[::1]", ["http://[::1]:80"]),
    ],
)
async def test_an_address_given_twice_is_one_and_the_client_takes_it(value: str, urls: list[str]) -> None:
    settings = load_settings({"elasticsearch_url": value})
    assert settings.elasticsearch_urls == urls
    client = create_client(settings)
    assert {node.base_url for node in client.transport.node_pool.all()} == {*urls}
    await client.close()


def test_each_wrong_value_gets_a_sentence() -> None:
    assert len(refused(port="x", log_level="y").splitlines()) == 2


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.4", "::", "sidecar.example"])
def test_overrides_are_refused_where_others_can_call(host: str) -> None:
    sentence = refused(host=host, upstream_overrides='{"*": "http://127.0.0.1:1"}')
    assert "SIDECAR_UPSTREAM_OVERRIDES" in sentence
    assert host in sentence


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "localhost"])
def test_overrides_are_taken_on_loopback(host: str) -> None:
    settings = load_settings({"host": host, "upstream_overrides": '{"*": "http://127.0.0.1:1"}'})
    assert settings.upstream_overrides == {"*": "http://127.0.0.1:1"}


def test_credentials_that_do_not_fit_together_are_refused() -> None:
    assert "not both" in refused(elasticsearch_api_key="k", elasticsearch_username="u", elasticsearch_password="p")
    assert "together" in refused(elasticsearch_username="u")
    assert "together" in refused(elasticsearch_password="p")


def test_secrets_never_appear_in_what_is_shown() -> None:
    given_secrets = {"elasticsearch_api_key": "hunter2", "secret_key": "hunter3"}
    settings = load_settings(given_secrets)
    for shown in (repr(settings), str(settings), str(settings.effective()), settings.model_dump_json()):
        assert "hunter" not in shown
    assert settings.effective()["SIDECAR_SECRET_KEY"] == MASK
    assert settings.effective()["SIDECAR_ELASTICSEARCH_PASSWORD"] is None
    assert "hunter" not in refused(elasticsearch_url="http://me:hunter2@localhost:9200")
    secret_settings = {name for name, field in Settings.model_fields.items() if is_secret(field)}
    assert secret_settings == {"elasticsearch_api_key", "elasticsearch_password", "secret_key"}


def test_unknown_names_are_reported_with_the_name_that_was_meant(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("SIDECAR_LOGLEVEL=info\nOTHER=1\n")
    file = tmp_path / "s.yaml"
    file.write_text("prot: 1\nport: 1\n")
    environ = {"SIDECAR_ELASTIC_URL": "x", "SIDECAR_PORT": "1", "SIDECAR_ZZZ": "1", "PATH": "/bin"}
    assert unknown_settings(file, environ) == [
        "SIDECAR_ELASTIC_URL in the environment is not a setting; did you mean SIDECAR_ELASTICSEARCH_URL?",
        "SIDECAR_ZZZ in the environment is not a setting.",
        "SIDECAR_LOGLEVEL in .env is not a setting; did you mean SIDECAR_LOG_LEVEL?",
        f"SIDECAR_PROT in {file} is not a setting; did you mean SIDECAR_PORT?",
    ]


def test_variables_that_kubernetes_makes_of_a_service_are_explained() -> None:
    environ = {
        "SIDECAR_SERVICE_HOST": "10.0.0.1",
        "SIDECAR_SERVICE_PORT": "80",
        "SIDECAR_SERVICE_PORT_HTTP": "80",
        "SIDECAR_PORT_80_TCP_ADDR": "10.0.0.1",
    }
    assert unknown_settings(None, environ) == []
    assert "enableServiceLinks: false" in refused(port="tcp://10.0.0.1:9800")


def test_the_documentation_shows_the_table() -> None:
    page = (ROOT / "docs" / "settings.md").read_text()
    assert settings_markdown() in page, "renew the table in docs/settings.md with: sidecar config --markdown"


@given(st.integers(min_value=0, max_value=10**9))
def test_times_and_sizes_are_read_as_they_are_written(number: int) -> None:
    assert parse_size(size_text(number)) == number
    assert parse_time(time_text(number / 1000)) == pytest.approx(number / 1000)


def test_what_is_printed_can_be_read_again(tmp_path: Path) -> None:
    values = {"retry_timeout": "90s", "max_body_size": "3mb", "preload_models": "a,b", "model_precision": "exact"}
    first = load_settings(values)
    again = {
        name.removeprefix("SIDECAR_").lower(): value for name, value in first.effective().items() if value is not None
    }
    assert load_settings(again) == first


@pytest.mark.parametrize("end", ["\n", "\r\n", "\n\n"])
def test_credentials_lose_the_line_end_of_their_file(end: str) -> None:
    settings = load_settings({"elasticsearch_api_key": f"abc={end}"})
    assert settings.elasticsearch_api_key is not None
    assert settings.elasticsearch_api_key.get_secret_value() == "abc="


@pytest.mark.parametrize("name", ["elasticsearch_api_key", "elasticsearch_password", "elasticsearch_username"])
def test_credentials_of_several_lines_are_refused_and_not_shown(name: str) -> None:
    both = {"elasticsearch_username": "u", "elasticsearch_password": "p"} if name != "elasticsearch_api_key" else {}
    sentence = refused(**both | {name: "hunter2\nX-Other: 1"})
    assert f"SIDECAR_{name.upper()} must be one line without control characters" in sentence
    if name != "elasticsearch_username":
        assert "hunter2" not in sentence


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("s.yaml", 'port: 1\nelasticsearch_api_key: "hunter2\n', "not valid YAML: line 3, column 1"),
        ("s.yaml", "a: hunter2: 1\n", "not valid YAML: line 1, column 11"),
        ("s.yaml", "a: \x00hunter2\n", "not valid YAML"),
        ("s.toml", 'port = 1\nelasticsearch_api_key = "hunter2\n', "not valid TOML: line 2"),
        ("s.toml", "hunter2\n", "not valid TOML: line 1"),
    ],
)
def test_a_settings_file_that_cannot_be_read_is_not_quoted(tmp_path: Path, name: str, text: str, said: str) -> None:
    file = tmp_path / name
    file.write_text(text)
    sentence = refused(config_file=str(file))
    assert said in sentence
    assert "hunter2" not in sentence


def test_user_and_password_of_an_address_are_masked() -> None:
    overrides = {"a": "http://me:hunter2@localhost:1/x", "b": "http://hunter3@localhost", "c": "http://localhost/a@b"}
    shown = load_settings({"upstream_overrides": overrides}).effective()["SIDECAR_UPSTREAM_OVERRIDES"]
    assert shown == {
        "a": "http://********@localhost:1/x",
        "b": "http://********@localhost",
        "c": "http://localhost/a@b",
    }
