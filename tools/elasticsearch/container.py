"""A node of the official image, where a Docker daemon answers."""

import shutil
import socket
import subprocess
import sys
import uuid

from tools.elasticsearch.launch import Launch, Wish, node_directory
from tools.elasticsearch.maven import Say
from tools.elasticsearch.release import Release, WayClosedError


def daemon() -> str:
    """The operating system that the Docker daemon reports.

    Raises:
        WayClosedError: there is no docker program, or no daemon answers it.
    """
    if shutil.which("docker") is None:
        raise WayClosedError("docker was not found on the PATH")
    answer = _docker("info", "--format", "{{.ServerVersion}}\t{{.OperatingSystem}}", timeout=10)
    version, _, system = (answer or "").strip().partition("\t")
    if not version:
        raise WayClosedError("the docker program is there, but no daemon answers it")
    return system


def container_launch(release: Release, wish: Wish, say: Say) -> Launch:
    """A node in a container that is removed at the end; the image is pulled the first time.

    On Linux the container shares the host's network, so that the node reaches services on this machine's loopback
    address; Docker Desktop has another machine in between and offers `host.docker.internal` instead.

    Raises:
        WayClosedError: no daemon, or the image cannot be pulled.
    """
    system = daemon()
    _pull(release, say)
    name = f"elasticsearch-{uuid.uuid4().hex[:12]}"
    port = wish.port or _free_port()
    settings = {**wish.common_settings(), "ingest.geoip.downloader.enabled": False}
    if sys.platform == "linux" and system != "Docker Desktop":
        network = ["--network", "host"]
        settings |= {"network.host": "127.0.0.1", "http.port": port, "transport.port": 0}
        callback_host = "127.0.0.1"
    else:
        network = ["-p", f"127.0.0.1:{port}:9200", "--add-host", "host.docker.internal:host-gateway"]
        callback_host = "host.docker.internal"
    settings |= wish.settings
    options = [part for key, value in settings.items() for part in ("-e", f"{key}={_as_text(value)}")]
    options += ["-e", f"ES_JAVA_OPTS=-Xms{wish.heap} -Xmx{wish.heap}"]
    directory = str(node_directory())
    return Launch(
        command=["docker", "run", "--rm", "--name", name, *network, *options, release.image],
        environment=None,
        directory=directory,
        cwd=directory,
        origin=f"Docker image {release.image}",
        version=release.version,
        url=f"http://127.0.0.1:{port}",
        callback_host=callback_host,
        clean_up=[["docker", "rm", "--force", "--volumes", name]],
    )


def _pull(release: Release, say: Say) -> None:
    if _docker("image", "inspect", release.image, timeout=30) is not None:
        return
    say(f"Elasticsearch {release.version}: Docker image {release.image}, about 0.7 GB, once")
    # to our error output, where Docker draws its own progress
    done = subprocess.run(["docker", "pull", release.image], stdout=sys.stderr, check=False)
    if done.returncode != 0:
        raise WayClosedError(f"the image {release.image} could not be pulled")


def _docker(*arguments: str, timeout: float) -> str | None:
    try:
        done = subprocess.run(
            ["docker", *arguments], capture_output=True, text=True, errors="replace", timeout=timeout, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None


def _as_text(value: str | int | bool) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
