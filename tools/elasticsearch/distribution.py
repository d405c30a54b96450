"""An unpacked Elasticsearch distribution: the one at ES_HOME, or one in the cache that Maven delivered."""

import fcntl
import os
import re
import shutil
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tools.elasticsearch.account import is_open_to, node_user
from tools.elasticsearch.maven import Say, carrier_archive
from tools.elasticsearch.release import Release, WayClosedError

CACHE_VARIABLE = "ELASTICSEARCH_CACHE_DIR"
_NAME = "elasticsearch-inference-sidecar"
_SERVER_JAR = re.compile(r"elasticsearch-(\d+\.\d+\.\d+(?:-[A-Za-z0-9]+)*)\.jar")


@dataclass(frozen=True)
class Distribution:
    """A folder with `lib` and `modules`, and the version found in it."""

    home: Path
    version: str

    @property
    def line(self) -> str:
        """The major version."""
        return self.version.split(".")[0]

    @property
    def bundled_java(self) -> Path | None:
        """The Java that the complete distribution brings along."""
        home = self.home / "jdk"
        return home if home.is_dir() else None


def read_distribution(home: Path) -> Distribution | None:
    """The distribution unpacked at `home`, None where there is none."""
    for jar in sorted((home / "lib").glob("elasticsearch-*.jar")):
        if match := _SERVER_JAR.fullmatch(jar.name):
            return Distribution(home, match[1])
    return None


def home_distribution() -> Distribution:
    """The distribution that ES_HOME names.

    Raises:
        WayClosedError: the variable is not set, or what it names is no distribution that we can start.
    """
    value = os.environ.get("ES_HOME")
    if not value:
        raise WayClosedError("it is not set")
    home = Path(value).resolve()
    found = read_distribution(home)
    if found is None:
        raise WayClosedError(f"{home} holds no distribution")
    if not is_open_to(home / "lib" / f"elasticsearch-{found.version}.jar", node_user()):
        raise WayClosedError(f"{home} is not readable for the user the node runs as")
    return found


def cached_distribution(release: Release, say: Say) -> Distribution:
    """The distribution of `release` in the cache, fetched and unpacked there the first time.

    Several processes may ask at once: one fetches, the others wait for it.

    Raises:
        WayClosedError: it is not in the cache and Maven could not deliver it.
    """
    name = f"elasticsearch-{release.version}"
    user = node_user()
    # One that is there may be read-only, and need not be where we would put a new one. The temporary folder is open to
    # everyone, and we run nothing that somebody else put there.
    homes = [cache / name for cache in _caches()]
    home = next((home for home in homes if is_open_to(home, user) and home.stat().st_uid in {0, os.geteuid()}), None)
    if home is None:
        cache = cache_directory()
        home = cache / name
        with _lock(cache / f"{name}.lock", say):
            if not home.is_dir():
                with carrier_archive(release, cache / f"{name}.log", say) as archive:
                    _unpack(archive, home)
    found = read_distribution(home)
    if found is None or found.version != release.version:
        raise WayClosedError(f"{home} does not hold Elasticsearch {release.version}; delete it and try again")
    return found


def reduced_distribution(whole: Distribution) -> Distribution:
    """A copy without the language analyzers, for a Java without language data (hard links: it takes no space)."""
    home = whole.home.with_name(f"{whole.home.name}-reduced")
    if not home.is_dir():
        scratch = Path(tempfile.mkdtemp(dir=home.parent, prefix=f".{home.name}-"))
        try:
            shutil.copytree(whole.home, scratch / "tree", copy_function=os.link)
            shutil.rmtree(scratch / "tree" / "modules" / "analysis-common")
            _put_in_place(scratch / "tree", home)
        except OSError as error:
            raise WayClosedError(f"{home} could not be made: {error}") from error
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    return Distribution(home, whole.version)


def cache_directory() -> Path:
    """The folder for unpacked distributions.

    ELASTICSEARCH_CACHE_DIR names it outright. Otherwise it is the user's cache folder (XDG_CACHE_HOME, ~/.cache), or,
    where the node runs as another user who cannot read that, /var/cache or the temporary folder.

    Raises:
        WayClosedError: none of them can be written and read.
    """
    candidates = _caches()
    user = node_user()
    for candidate in candidates:
        existing = next(folder for folder in (candidate, *candidate.parents) if folder.exists())
        if not (is_open_to(existing, user) and os.access(existing, os.W_OK)):
            continue
        try:
            candidate.mkdir(parents=True, exist_ok=True)
        except OSError:
            continue
        return candidate.resolve()
    tried = ", ".join(map(str, candidates))
    raise WayClosedError(f"no cache folder can be written here and read by the user the node runs as (tried {tried})")


def _caches() -> list[Path]:
    if named := os.environ.get(CACHE_VARIABLE):
        return [Path(named).absolute()]
    user_cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return [base.absolute() / _NAME for base in (user_cache, Path("/var/cache"), Path(tempfile.gettempdir()))]


@contextmanager
def _lock(path: Path, say: Say) -> Iterator[None]:
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"{path.stem}: another process is fetching it, waiting")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield  # closing the file lets go of the lock


def _unpack(archive: Path, home: Path) -> None:
    for leftover in home.parent.glob(f".{home.name}-*"):  # of one that was killed while it held the lock
        shutil.rmtree(leftover, ignore_errors=True)
    scratch = Path(tempfile.mkdtemp(dir=home.parent, prefix=f".{home.name}-"))
    try:
        with zipfile.ZipFile(archive) as carrier:
            members = [name for name in carrier.namelist() if name.split("/")[1:2] == ["elasticsearch"]]
            carrier.extractall(scratch, members)
        trees = list(scratch.glob("*/elasticsearch"))
        if not trees:
            raise WayClosedError(f"{archive} carries no Elasticsearch")
        for path in (trees[0], *trees[0].rglob("*")):
            path.chmod(0o755 if path.is_dir() or path.parent.name == "bin" else 0o644)
        _put_in_place(trees[0], home)
    except (OSError, zipfile.BadZipFile) as error:
        raise WayClosedError(f"{archive} could not be unpacked: {error}") from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _put_in_place(tree: Path, home: Path) -> None:
    """Rename in one step, so that `home` is whole whenever it exists; a twin that came first stays."""
    try:
        tree.rename(home)
    except OSError:
        if not home.is_dir():
            raise
