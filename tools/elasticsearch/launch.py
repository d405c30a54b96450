"""What has to be run for one node: the command, its environment, and the directory with its configuration."""

import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from tools.elasticsearch.account import is_open_to, node_user
from tools.elasticsearch.distribution import Distribution, reduced_distribution
from tools.elasticsearch.java import Java
from tools.elasticsearch.release import License, WayClosedError

Setting = str | int | bool
_SERIAL = ("-Xms4m", "-Xmx64m", "-XX:+UseSerialGC")


@dataclass(frozen=True)
class Wish:
    """How a node is wanted: licence, HTTP port (0: any free one), heap size, further lines of elasticsearch.yml."""

    license: License = "basic"
    port: int = 0
    heap: str = "512m"
    settings: Mapping[str, Setting] = field(default_factory=dict)

    def common_settings(self) -> dict[str, Setting]:
        """The settings that do not depend on where the node comes from."""
        return {
            "discovery.type": "single-node",
            # a disk that is nearly full would make indices read-only, which no test is about
            "cluster.routing.allocation.disk.threshold_enabled": False,
            "xpack.license.self_generated.type": self.license,
            "xpack.security.enabled": False,
        }


@dataclass(frozen=True)
class Launch:
    """One node, ready to be started by the guard.

    `environment` None stands for ours. `url` is empty where the node picks its port itself and writes it to
    logs/http.ports. `callback_host` is the name under which the node reaches what listens on this machine's loopback
    address.
    """

    command: list[str]
    environment: dict[str, str] | None
    directory: str
    cwd: str
    origin: str
    version: str
    user: int | None = None
    url: str = ""
    callback_host: str = "127.0.0.1"
    clean_up: list[list[str]] = field(default_factory=list)

    def as_json(self) -> str:
        """The form that the guard reads."""
        return json.dumps(asdict(self))


def node_directory() -> Path:
    """A new, empty directory that the node's user may write in.

    Raises:
        WayClosedError: the temporary folder is not reachable for that user.
    """
    user = node_user()
    for base in (Path(tempfile.gettempdir()), Path("/var/tmp")):
        if is_open_to(base, user):
            directory = Path(tempfile.mkdtemp(prefix="elasticsearch-", dir=base))
            if user is not None:
                os.chown(directory, user, user)
            return directory
    raise WayClosedError(
        f"the user the node runs as cannot reach {tempfile.gettempdir()}; set TMPDIR to another folder"
    )


def local_launch(distribution: Distribution, java: Java, wish: Wish) -> Launch:
    """A node of an unpacked distribution on this machine, started without its shell scripts."""
    if not java.has_all_languages:
        distribution = reduced_distribution(distribution)
    directory = node_directory()
    configuration, logs, scratch = (directory / name for name in ("config", "logs", "tmp"))
    for folder in (configuration, directory / "data", logs, scratch):
        folder.mkdir()
    settings = {
        **wish.common_settings(),
        "cluster.name": "elasticsearch",
        "node.name": "node-1",
        "path.data": str(directory / "data"),
        "path.logs": str(logs),
        "network.host": "127.0.0.1",
        "http.port": wish.port,
        "transport.port": 0,
        "node.portsfile": True,
        **({"ingest.geoip.downloader.enabled": False} if _has_module(distribution, "ingest-geoip") else {}),
        **wish.settings,
    }
    lines = [f"{name}: {json.dumps(value)}\n" for name, value in settings.items()]
    (configuration / "elasticsearch.yml").write_text("".join(lines))
    (configuration / "log4j2.properties").write_text((distribution.home / "config/log4j2.properties").read_text())
    (configuration / "jvm.options").write_text(_jvm_options(distribution, java))
    user = node_user()
    if user is not None:
        for path in (directory, *directory.rglob("*")):
            os.chown(path, user, user)
    return Launch(
        command=_command(distribution, java, configuration),
        environment=_environment(distribution, java, directory, wish.heap),
        directory=str(directory),
        cwd=str(distribution.home),  # some of its paths are relative to that
        origin=f"{distribution.home} on Java {java.version}",
        version=distribution.version,
        user=user,
    )


def _has_module(distribution: Distribution, name: str) -> bool:
    return (distribution.home / "modules" / name).is_dir()


def _jvm_options(distribution: Distribution, java: Java) -> str:
    lines = (distribution.home / "config" / "jvm.options").read_text().splitlines()
    if "jdk.incubator.vector" not in java.modules:
        lines = [line for line in lines if "jdk.incubator.vector" not in line]
    # the log of the garbage collector and the dump of a full heap are of no use in a node that is thrown away
    lines = [line for line in lines if not line.startswith(("-Xlog:gc", "-XX:HeapDumpPath", "-XX:+HeapDumpOn"))]
    return "\n".join(lines) + "\n"


def _command(distribution: Distribution, java: Java, configuration: Path) -> list[str]:
    """What bin/elasticsearch runs; newer releases have a launcher of their own, older ones start the server tool."""
    home = distribution.home
    if (home / "lib/tools/server-launcher").is_dir():
        main = ["-cp", f"{home}/lib/tools/server-launcher/*", "org.elasticsearch.server.launcher.ServerLauncher"]
    else:
        main = [
            "-Dcli.name=server",
            "-Dcli.libs=lib/tools/server-cli",
            f"-Dcli.script={home}/bin/elasticsearch",
            f"-Des.path.home={home}",
            f"-Des.path.conf={configuration}",
            "-Des.distribution.type=tar",
            "-cp",
            f"{home}/lib/*:{home}/lib/cli-launcher/*",
            "org.elasticsearch.launcher.CliToolLauncher",
        ]
    return [str(java.executable), *_SERIAL, *main]


def _environment(distribution: Distribution, java: Java, directory: Path, heap: str) -> dict[str, str]:
    scratch = str(directory / "tmp")
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "LC_ALL", "TZ") if name in os.environ}
    return {
        **kept,
        "HOME": str(directory),
        "JAVA_HOME": str(java.home),
        "ES_JAVA_HOME": str(java.home),
        "JAVA": str(java.executable),
        "JAVA_TYPE": "ES_JAVA_HOME",
        "ES_HOME": str(distribution.home),
        "ES_PATH_CONF": str(directory / "config"),
        "ES_DISTRIBUTION_TYPE": "tar",
        "ES_JAVA_OPTS": f"-Xms{heap} -Xmx{heap}",
        "ES_TMPDIR": scratch,
        "LIBFFI_TMPDIR": scratch,
    }
