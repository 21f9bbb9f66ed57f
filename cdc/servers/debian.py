"""Programs out of Debian's packages, unpacked below the user's cache: nothing is installed, and root is not needed.

The address of the mirror is the one in the machine's own apt sources, as are proxies and the like; which suite is read is said
here. The index must be signed by a key that the machine trusts for that mirror.
"""

import logging
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

_log = logging.getLogger("commitlog.servers")

_TIMEOUT_S = 600.0
_ETC = Path("/etc/apt")
_KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
# What Debian calls its releases; suites with a dash, such as bookworm-security, have mirrors of their own.
_SUITE = re.compile(
    r"(bullseye|bookworm|trixie|forky|duke|sid|oldoldstable|oldstable|stable|testing|unstable)(/updates)?"
)
# What of the machine's settings is about the way to a mirror. What may weaken signatures is not taken over.
_SETTING = re.compile(r"Acquire::(?!AllowInsecure|AllowWeak|AllowDowngrade|IndexTargets|Languages|cdrom|Changelogs)")


@dataclass(frozen=True, slots=True)
class Archive:
    """A mirror of Debian's archive.

    Attributes:
        uri: Its address, as apt takes it.
        signed_by: The file with the keys that sign its index; empty for those apt trusts anyway.
    """

    uri: str
    signed_by: str


@dataclass(frozen=True, slots=True)
class Packages:
    """What is unpacked.

    Attributes:
        suite: Such as `sid`.
        whole: Packages that come with all they depend on.
        bare: Packages of which only the files are wanted.
    """

    suite: str
    whole: tuple[str, ...]
    bare: tuple[str, ...] = ()


NOT_HERE = ("apt", "mirror")
"""The steps that fail on a machine whose packages are not Debian's."""

Failure = Callable[[str, str], NoReturn]
"""Gives up: the step, and what went wrong."""


def unpack(folder: Path, packages: Packages, failed: Failure) -> None:
    """Fetch packages, and unpack them into a folder, which then has `usr` and all.

    Args:
        folder: An empty one.
        packages: What is to be in it.
        failed: Called where it cannot be had.
    """
    missing = [program for program in ("apt-get", "apt-config", "dpkg") if shutil.which(program) is None]
    if missing:
        failed(
            "apt",
            f"{' and '.join(missing)} is not installed: packages are fetched on Debian and what is made from it only",
        )
    mirrors = archives()
    if not mirrors:
        failed(
            "mirror", f"the apt sources of this machine ({_ETC}/sources.list, sources.list.d) name no mirror of Debian"
        )
    wanted = " ".join((*packages.whole, *packages.bare))
    _log.info("fetching %s of Debian %s, once", wanted, packages.suite)
    work = folder / "apt"
    problems: list[str] = []
    for mirror in mirrors:
        apt = _Apt(work, mirror, packages.suite, failed)
        problem = apt.update()
        if problem is None:
            apt.fetch(packages)
            break
        problems.append(problem)
    else:
        failed("index", "; ".join(problems))
    for package in sorted((work / "archives").glob("*.deb")):
        _run("unpack", ["dpkg", "--extract", str(package), str(folder)], work, failed)
    shutil.rmtree(work)


def archives(etc: Path = _ETC) -> list[Archive]:
    """The mirrors of Debian that the machine's apt sources name (both forms: sources.list and deb822), likeliest first."""
    parts = etc / "sources.list.d"
    # The distribution's own file first: a vendor's archive may call its suites as Debian does.
    files = [etc / "sources.list", parts / "debian.sources", parts / "debian.list"]
    files += sorted([*parts.glob("*.sources"), *parts.glob("*.list")])
    found: dict[str, Archive] = {}
    for file in files:
        if file.is_file():
            read = _deb822 if file.suffix == ".sources" else _one_line
            for archive in read(file.read_text(errors="replace")):
                found.setdefault(archive.uri.rstrip("/"), archive)
    return list(found.values())


def loader(prefix: Path) -> list[str]:
    """What runs a program of an unpacked folder with the libraries beside it, whatever the machine has: arguments before its path."""
    folders = [folder for pattern in ("usr/lib/*-linux-*", "lib/*-linux-*") for folder in sorted(prefix.glob(pattern))]
    programs = [program for folder in folders for program in folder.glob("ld-linux*.so*")]
    return [str(programs[0]), "--library-path", ":".join(str(folder) for folder in [*folders, prefix / "usr/lib"])]


def _deb822(text: str) -> Iterator[Archive]:
    """Source: sources.list(5), "deb822-style format"."""
    for stanza in re.split(r"\n\s*\n", "\n".join(line for line in text.splitlines() if not line.startswith("#"))):
        fields = {name.lower(): " ".join(value.split()) for name, value in _FIELD.findall(stanza)}
        types, suites = fields.get("types", "").split(), fields.get("suites", "").split()
        if "deb" not in types or fields.get("enabled", "yes").lower() in ("no", "false", "0"):
            continue
        if "main" in fields.get("components", "").split() and any(map(_SUITE.fullmatch, suites)):
            for uri in fields.get("uris", "").split():
                yield Archive(uri, _signer(fields.get("signed-by", "")))


_FIELD = re.compile(r"^([A-Za-z0-9-]+)[ \t]*:(.*(?:\n[ \t].*)*)", re.MULTILINE)
_LINE = re.compile(r"^\s*deb\s+(?:\[([^\]]*)\]\s*)?(\S+)\s+(\S+)\s+([^#\n]*)", re.MULTILINE)


def _one_line(text: str) -> Iterator[Archive]:
    """Source: sources.list(5), "one-line-style format"."""
    for options, uri, suite, components in _LINE.findall(text):
        if "main" in components.split() and _SUITE.fullmatch(suite) and not uri.startswith("cdrom:"):
            signer = re.search(r"signed-by=(\S+)", options, re.IGNORECASE)
            yield Archive(uri, _signer(signer[1] if signer else ""))


def _signer(said: str) -> str:
    """The keys' file: the one that is said (not a key written out), else the archive's own where it is installed."""
    if said.startswith("/"):
        return said
    return str(_KEYRING) if _KEYRING.exists() else ""


class _Apt:
    """An apt with a configuration, lists and a cache of its own."""

    def __init__(self, folder: Path, archive: Archive, suite: str, failed: Failure) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        for name in ("lists/partial", "archives/partial", "nothing"):
            (folder / name).mkdir(parents=True)
        self._folder, self._failed = folder, failed
        architecture = _run("architecture", ["dpkg", "--print-architecture"], folder, failed).strip()
        source = [f"Types: deb\nURIs: {archive.uri}\nSuites: {suite}\nComponents: main\nArchitectures: {architecture}"]
        source += [f"Signed-By: {archive.signed_by}"] if archive.signed_by else []
        (folder / "debian.sources").write_text("\n".join(source) + "\n")
        (folder / "status").touch()
        machine = _run("settings", ["apt-config", "dump"], folder, failed).splitlines()
        (folder / "apt.conf").write_text(
            "\n".join([*(line for line in machine if _SETTING.match(line)), *self._settings(architecture)]) + "\n"
        )

    def update(self) -> str | None:
        """Fetch the index; what went wrong where it could not be had."""
        run = self._apt("update")
        return None if run.returncode == 0 else (run.stderr.strip() or run.stdout.strip())

    def fetch(self, packages: Packages) -> None:
        """Fetch the packages. No package counts as installed here, so that all that they need comes with them."""
        arguments = [["install", "--assume-yes", "--download-only", *packages.whole]]
        arguments += [["download", *packages.bare]] if packages.bare else []
        for argument in arguments:
            run = self._apt(*argument)
            if run.returncode:
                self._failed("packages", run.stderr.strip() or run.stdout.strip())

    def _settings(self, architecture: str) -> Iterator[str]:
        folders = {
            "Dir::Etc::sourcelist": "debian.sources",
            "Dir::Etc::sourceparts": "nothing",
            "Dir::Etc::parts": "nothing",
            "Dir::Etc::main": "nothing/apt.conf",
            "Dir::Etc::preferences": "nothing/preferences",
            "Dir::Etc::preferencesparts": "nothing",
            "Dir::State": "",
            "Dir::State::lists": "lists",
            "Dir::State::status": "status",
            "Dir::Cache": "",
            "Dir::Cache::archives": "archives",
            "Dir::Log": "",
        }
        yield from (f'{name} "{self._folder / path}";' for name, path in folders.items())
        yield f'APT::Architecture "{architecture}";'
        yield f'APT::Architectures {{ "{architecture}"; }};'
        # The folder is ours alone: nobody else could write there, and nobody else needs a lock.
        yield 'APT::Sandbox::User "root";'
        yield 'Debug::NoLocking "true";'
        yield 'APT::Install-Recommends "false";'
        # An index that could not be fetched is an error, as is one that nobody signed.
        yield 'APT::Update::Error-Mode "any";'
        yield 'Acquire::AllowInsecureRepositories "false";'
        yield 'Acquire::Languages "none";'
        yield 'Acquire::Retries "3";'

    def _apt(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return _finished(
            ["apt-get", "--quiet", *arguments], self._folder / "archives", self._failed, self._folder / "apt.conf"
        )


def _run(step: str, command: Sequence[str], folder: Path, failed: Failure) -> str:
    run = _finished(command, folder, failed)
    if run.returncode:
        failed(step, run.stderr.strip() or f"{command[0]} ended with {run.returncode}")
    return run.stdout


def _finished(
    command: Sequence[str], folder: Path, failed: Failure, configuration: Path | None = None
) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "LC_ALL": "C"} | ({"APT_CONFIG": str(configuration)} if configuration else {})
    try:
        return subprocess.run(
            command,
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        failed(command[0], str(error))
