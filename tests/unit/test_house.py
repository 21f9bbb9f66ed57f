"""The rules of the house that no tool checks: packages, names, sizes, and what no file may contain."""

import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
from pathlib import Path

import pytest

from commitlog.cdc import native
from commitlog.cdc.cli.commands import COMMANDS

ROOT = Path(__file__).parents[2]
CODE = ("cdc", "drivers", "schemas", "transforms")
GIVEN_FOLDERS = {*CODE, "compose", "tests"}
LINE_COUNT_MAX = 400
# The libraries that drivers/ wraps, and the frameworks it fits into, with what these load themselves.
WRAPPED = {"psycopg", "psycopg_binary", "psycopg_pool", "pymysql", "cryptography", "_cffi_backend", "typing_extensions"}
WRAPPED |= {"pymongo", "bson", "dns"}
FRAMEWORKS = {"django": {"asgiref", "django", "sqlparse", "MySQLdb"}, "sqlalchemy": {"greenlet", "sqlalchemy"}}

# Written in two parts, so that this file does not contain what it looks for.
PLACEHOLDERS = ("TO" + "DO", "FIX" + "ME", "NotImplemented" + "Error")
REGISTRIES = (
    "pypi" + ".org",
    "python" + "hosted.org",
    "npmjs" + ".org",
    "npmjs" + ".com",
    "registry" + ".yarnpkg.com",
    "repo1" + ".maven.org",
    "repo" + ".maven.apache.org",
    "crates" + ".io",
    "deb" + ".debian.org",
    "snapshot" + ".debian.org",
    "archive" + ".ubuntu.com",
    "proxy" + ".golang.org",
)


def tracked() -> list[Path]:
    """The files git knows, and those it would take on the next `git add`."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    paths = [ROOT / name for name in listed.stdout.split("\0") if name]
    return [path for path in paths if path.is_file()]


def modules() -> list[Path]:
    return [path for path in tracked() if path.suffix == ".py" and path.relative_to(ROOT).parts[0] in CODE]


def module_names() -> list[str]:
    """All but those for mysqlclient, which is not among the locked packages."""
    names = [".".join(("commitlog", *path.relative_to(ROOT).with_suffix("").parts)) for path in modules()]
    return [name.removesuffix(".__init__") for name in names if "mysqlclient" not in name]


def found(words: tuple[str, ...], paths: list[Path]) -> list[str]:
    """Each line of the files that holds one of the words, as file:line."""
    pattern = re.compile("|".join(re.escape(word) for word in words))
    lines: list[str] = []
    for path in paths:
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), start=1):
            if pattern.search(line):
                lines.append(f"{path.relative_to(ROOT)}:{number}: {line.strip()}")
    return lines


def test_every_folder_with_modules_is_a_listed_package_and_no_other_is() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    folders = {path.parent.relative_to(ROOT) for path in modules()}

    packages = {"commitlog", *(".".join(("commitlog", *folder.parts)) for folder in folders)}

    assert sorted(packages) == sorted(project["tool"]["setuptools"]["packages"])


def test_every_data_file_beside_the_modules_is_shipped() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    shipped = {
        path
        for package, patterns in project["tool"]["setuptools"]["package-data"].items()
        for pattern in patterns
        for path in ROOT.joinpath(*package.split(".")[1:]).glob(pattern)
    }

    data = {path for path in tracked() if path.relative_to(ROOT).parts[0] in CODE and path.suffix != ".py"}

    assert data - shipped == set()


def test_every_package_has_an_init_file() -> None:
    missing = {path.parent for path in modules() if not (path.parent / "__init__.py").exists()}

    assert missing == set()


def test_there_are_no_top_level_folders_but_the_given_ones() -> None:
    folders = {path.relative_to(ROOT).parts[0] for path in tracked() if path.parent != ROOT}

    assert {folder for folder in folders if not folder.startswith(".")} <= GIVEN_FOLDERS


def test_the_package_is_only_ever_imported_by_its_full_name() -> None:
    assert [name for name in CODE if name in sys.modules] == []


def test_every_module_can_be_imported_and_none_of_them_by_a_bare_name(tmp_path: Path) -> None:
    program = (
        "import importlib, sys\n"
        "for name in sys.argv[1:]: importlib.import_module(name)\n"
        f"sys.exit(', '.join(set(sys.modules) & set({CODE!r})) or None)\n"
    )

    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", program, *module_names()],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )

    assert run.stderr == ""
    assert run.returncode == 0


@pytest.mark.parametrize("framework", ["", *FRAMEWORKS])
def test_an_application_loads_only_the_standard_library_and_what_it_uses(tmp_path: Path, framework: str) -> None:
    others = tuple(f"commitlog.drivers.{name}" for name in FRAMEWORKS if name != framework)
    names = [name for name in module_names() if name.startswith(("commitlog.drivers", "commitlog.schemas"))]
    names = [name for name in names if not name.startswith(others)]
    program = (
        "import importlib, sys\n"
        "before = set(sys.modules)\n"
        "for name in sys.argv[1:]: importlib.import_module(name)\n"
        "new = {name: getattr(sys.modules[name], '__file__', None) or '' for name in set(sys.modules) - before}\n"
        "print(*{name.partition('.')[0] for name, file in new.items() if 'site-packages' in file})\n"
    )

    run = subprocess.run(
        [sys.executable, "-c", program, *names], cwd=tmp_path, capture_output=True, text=True, check=True
    )

    assert set(run.stdout.split()) <= WRAPPED | FRAMEWORKS.get(framework, set())


@pytest.mark.parametrize("folder", CODE)
def test_modules_stay_short_enough_to_read(folder: str) -> None:
    lengths = {
        str(path.relative_to(ROOT)): len(path.read_text().splitlines())
        for path in modules()
        if path.relative_to(ROOT).parts[0] == folder
    }

    assert {name: length for name, length in lengths.items() if length > LINE_COUNT_MAX} == {}


def test_inside_the_package_imports_are_relative() -> None:
    pattern = re.compile(r"^\s*(from|import) commitlog\b")
    absolute = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in modules()
        for number, line in enumerate(path.read_text().splitlines(), start=1)
        if pattern.match(line)
    ]

    assert absolute == []


def test_nothing_is_left_to_be_done() -> None:
    assert found(PLACEHOLDERS, tracked()) == []


def test_no_file_names_a_package_registry() -> None:
    assert found(REGISTRIES, tracked()) == []


def test_the_locks_pin_every_package_by_hash() -> None:
    for lock in ROOT.glob("requirements*.lock"):
        pins = re.findall(r"^([a-z0-9._-]+)==.*\\\n(?=    --hash=sha256:[0-9a-f]{64})", lock.read_text(), re.MULTILINE)
        lines = [line for line in lock.read_text().splitlines() if re.match(r"[^\s#]", line)]

        assert len(pins) == len(lines), f"{lock.name} has a line that is not a pinned version with a hash"


def test_the_changelog_has_a_place_for_what_comes_next() -> None:
    assert "\n## [Unreleased]\n" in (ROOT / "CHANGELOG.md").read_text()


def test_every_command_stands_in_the_readme() -> None:
    readme = (ROOT / "README.md").read_text()

    assert [name for name in COMMANDS if not re.search(rf"\bcommitlog {name}\b", readme)] == []


def test_every_make_target_describes_itself() -> None:
    makefile = (ROOT / "Makefile").read_text()
    phony = re.search(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)
    assert phony is not None
    described = set(re.findall(r"^([a-z-]+):.*## \S", makefile, re.MULTILINE))

    assert described == set(phony[1].split()) - {"needs"}


@pytest.mark.skipif(
    shutil.which(sysconfig.get_config_var("CC").split()[0]) is None
    or not Path(sysconfig.get_path("include"), "Python.h").exists(),
    reason="there is no C compiler, or no Python.h",
)
def test_the_compiled_part_is_there_where_it_can_be() -> None:
    """It is left out without a word where it does not compile; then its own tests are, too."""
    assert native.missing in ("", "COMMITLOG_PURE is set")
