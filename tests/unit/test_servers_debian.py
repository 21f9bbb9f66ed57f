"""What is read from the machine's own apt sources, and what is said where a server cannot be had out of packages."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from commitlog.cdc.servers import debian
from commitlog.cdc.servers.account import Account
from commitlog.cdc.servers.debian import Archive, archives, loader
from commitlog.cdc.servers.failure import ServerFailed
from commitlog.cdc.servers.mysql import MySqlServer

BOOKWORM = """# written by an installer
Types: deb deb-src
# an old address
URIs: http://mirror.example/debian/
Suites: bookworm bookworm-updates
Components: main contrib
Signed-By: /usr/share/keyrings/archive.gpg

Types: deb
URIs: http://security.example/debian-security
Suites: bookworm-security
Components: main
"""
UBUNTU = """Types: deb
URIs: http://archive.example/ubuntu/
Suites: noble noble-updates noble-backports
Components: main universe restricted multiverse
Signed-By: /usr/share/keyrings/ubuntu-archive-keyring.gpg
"""
ONE_LINE = """# deb http://commented.example/debian bookworm main
deb cdrom:[Debian GNU/Linux 12]/ bookworm main
deb-src http://source.example/debian bookworm main
deb [arch=amd64 signed-by=/etc/keys/vendor.asc] https://vendor.example/linux/debian bookworm stable
deb [ arch=amd64 signed-by=/etc/keys/debian.gpg ] http://old.example/debian stable main contrib # ours
deb http://security.example/debian-security bookworm-security main
"""


@pytest.fixture
def etc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """A function that writes files of apt's sources by their names, and gives their folder. No keyring is installed."""
    monkeypatch.setattr(debian, "_KEYRING", tmp_path / "none.gpg")

    def write(**files: str) -> Path:
        (tmp_path / "etc/sources.list.d").mkdir(parents=True)
        for name, text in files.items():
            name = name.replace("_", ".")
            folder = tmp_path / "etc" / ("" if name == "sources.list" else "sources.list.d")
            (folder / name).write_text(text)
        return tmp_path / "etc"

    return write


def test_a_mirror_is_read_from_sources_in_stanzas(etc: Callable[..., Path]) -> None:
    assert archives(etc(debian_sources=BOOKWORM)) == [
        Archive("http://mirror.example/debian/", "/usr/share/keyrings/archive.gpg")
    ]


def test_a_mirror_is_read_from_sources_in_lines(etc: Callable[..., Path]) -> None:
    assert archives(etc(sources_list=ONE_LINE)) == [Archive("http://old.example/debian", "/etc/keys/debian.gpg")]


def test_the_distributions_own_file_comes_first_and_each_mirror_once(etc: Callable[..., Path]) -> None:
    """A vendor may call the suites of its own archive as Debian does."""
    vendor = "deb https://apt.vendor.example bookworm main\n"
    repeated = "deb http://mirror.example/debian bookworm main\n"
    found = archives(etc(debian_sources=BOOKWORM, a_list=vendor, b_list=repeated))
    assert [archive.uri for archive in found] == ["http://mirror.example/debian/", "https://apt.vendor.example"]


@pytest.mark.parametrize(
    "text",
    [
        UBUNTU,
        BOOKWORM.replace("Types: deb deb-src", "Types: deb-src"),
        BOOKWORM.replace("Types: deb deb-src", "Enabled: no\nTypes: deb"),
        "",
    ],
)
def test_what_is_no_mirror_of_debian_in_use_is_none(etc: Callable[..., Path], text: str) -> None:
    assert archives(etc(debian_sources=text)) == []


def test_keys_that_are_written_out_in_the_sources_give_way_to_those_installed(
    etc: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keyring = tmp_path / "archive.gpg"
    keyring.touch()
    monkeypatch.setattr(debian, "_KEYRING", keyring)
    block = "Signed-By:\n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n mQINBG\n -----END PGP PUBLIC KEY BLOCK-----"
    text = BOOKWORM.replace("Signed-By: /usr/share/keyrings/archive.gpg", block)
    assert archives(etc(debian_sources=text)) == [Archive("http://mirror.example/debian/", str(keyring))]


@pytest.mark.parametrize("libraries", ["usr/lib", "lib"])
def test_programs_run_with_the_libraries_beside_them(tmp_path: Path, libraries: str) -> None:
    """Whether /lib is a folder of its own, as up to Debian 12's packages, or part of /usr."""
    folder = tmp_path / libraries / "aarch64-linux-gnu"
    (tmp_path / "usr/lib/aarch64-linux-gnu").mkdir(parents=True)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "ld-linux-aarch64.so.1").touch()
    program, option, path = loader(tmp_path)
    assert program == str(folder / "ld-linux-aarch64.so.1")
    assert option == "--library-path"
    assert path.split(":")[0] == str(tmp_path / "usr/lib/aarch64-linux-gnu")
    assert str(folder) in path.split(":")


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of all programs there are: an apt whose mirror's index nobody signed, and a dpkg. The cache is empty."""
    programs = tmp_path / "bin"
    programs.mkdir()
    scripts = {
        "apt-get": f'cat "$APT_CONFIG" > {tmp_path}/apt.conf; cat "$(dirname $APT_CONFIG)"/debian.sources > {tmp_path}/sources;'
        " echo 'E: The repository is not signed.' >&2; exit 100",
        "apt-config": "echo 'Acquire::http::Proxy \"http://proxy.example:8080\";';"
        " echo 'Acquire::AllowInsecureRepositories \"1\";'; echo 'APT::Update::Post-Invoke:: \"rm -rf /\";'",
        "dpkg": "echo amd64",
    }
    for name, text in scripts.items():
        (programs / name).write_text(f"#!/bin/sh\n{text}\n")
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(debian, "archives", lambda: [Archive("http://mirror.example/debian", "/etc/keys/debian.gpg")])
    return programs


def fail() -> ServerFailed:
    with pytest.raises(ServerFailed) as failed:
        MySqlServer.find(Account(None, None))
    assert MySqlServer.variable in failed.value.hint
    return failed.value


def test_an_index_that_is_not_signed_is_refused_by_name_and_nothing_stays(machine: Path, tmp_path: Path) -> None:
    failed = fail()
    assert str(failed) == "a local MySQL could not be provided, step index: E: The repository is not signed."
    assert [path.name for path in (tmp_path / "cache/commitlog").iterdir()] == ["mysql-sid.lock"]


def test_the_machines_way_to_a_mirror_is_kept_and_no_more_of_its_settings(machine: Path, tmp_path: Path) -> None:
    fail()
    settings = (tmp_path / "apt.conf").read_text()
    assert 'Acquire::http::Proxy "http://proxy.example:8080";' in settings
    assert 'Acquire::AllowInsecureRepositories "1"' not in settings
    assert "Post-Invoke" not in settings
    assert (tmp_path / "sources").read_text().splitlines() == [
        "Types: deb",
        "URIs: http://mirror.example/debian",
        "Suites: sid",
        "Components: main",
        "Architectures: amd64",
        "Signed-By: /etc/keys/debian.gpg",
    ]


def test_a_machine_without_a_mirror_of_debian_is_told_so(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(debian, "archives", list)
    assert "step mirror: the apt sources of this machine" in str(fail())


def test_a_machine_without_apt_is_told_so(machine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "step apt: apt-get and apt-config and dpkg is not installed" in str(fail())
