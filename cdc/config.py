"""The configuration of one worker: `commitlog.toml`, over it the environment, over that the flags.

What is read here is checked against schemas/config.schema.json before anything uses it; an error names the file, the line
and the key, never a value, for values may be secrets. Nothing here connects to anything.
"""

import difflib
import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, cast

from ..schemas.errors import UsageError
from . import json_schema
from .database_url import engine_of, shown, split_password, user_of, with_password
from .log.home import LogLocation
from .log.kafka_location import SCHEME, KafkaLocation
from .log.location import Location

FILE_NAME = "commitlog.toml"
STATE_FOLDER = ".commitlog"
ENVIRONMENT_PREFIX = "COMMITLOG_"

Visibility = Literal["own", "shared"]


@dataclass(frozen=True, slots=True)
class SourceConfig:
    """`[source]`: the database that is tailed.

    Args:
        url: Its address; a password in it came from the environment or a flag.
        password: `env:NAME`, `file:/ABSOLUTE/PATH`, or empty.
        publication: The publication's name.
        slot: The replication slot's name.
        server_id: What a worker calls itself among the replicas of a MySQL or MariaDB; 0 for what its log's name gives.
    """

    url: str = field(default="", repr=False)
    password: str = ""
    publication: str = "commitlog"
    slot: str = "commitlog"
    server_id: int = 0

    @property
    def engine(self) -> str:
        """What the address is of: postgresql, mysql or mariadb."""
        return engine_of(self.url)

    @property
    def shown(self) -> str:
        """The address without any secret, fit for messages."""
        return shown(self.url)

    def conninfo(self) -> str:
        """The address with the password, read now from where the configuration says it is.

        Raises:
            UsageError: The password is not where the configuration says.
        """
        if not self.password:
            bare, password = split_password(self.url)
            return self.url if password is None else with_password(bare, password)
        kind, _, where = self.password.partition(":")
        if kind == "env":
            if where not in os.environ:
                raise UsageError(
                    f"the source's password is to be in {where}, which is not set", hint=f"export {where}=…"
                )
            return with_password(self.url, os.environ[where])
        try:
            return with_password(self.url, Path(where).read_text(encoding="utf-8").rstrip("\r\n"))
        except (OSError, UnicodeDecodeError) as exc:
            raise UsageError(
                f"the source's password cannot be read from {where}: {exc}", hint="see [source] password"
            ) from exc


@dataclass(frozen=True, slots=True)
class LogConfig:
    """`[log]`: the log that is written.

    Args:
        location: The folder of logs, absolute, or the brokers, and the log's name.
        visibility: For whom the log is.
    """

    location: LogLocation
    visibility: Visibility = "own"


@dataclass(frozen=True, slots=True)
class SchemasConfig:
    """`[schemas]`: the folder of the app schemas, or the one file."""

    path: Path = Path("schemas")


@dataclass(frozen=True, slots=True)
class Limits:
    """`[limits]`: sizes in bytes, times in the unit of their name. schemas/config.schema.json says what each is for."""

    flush_ms: float = 50
    flush_bytes: int = 1 << 20
    part_bytes: int = 8 << 20
    change_bytes: int = 56 << 20
    spill_bytes: int = 32 << 20
    coverage_s: float = 60
    coverage_bytes: int = 16 << 20
    segment_bytes: int = 64 << 20
    tag_bytes: int = 1024
    snapshot_rows: int = 2_000
    silence_s: float = 60
    retry_s: float = 30


@dataclass(frozen=True, slots=True)
class HttpConfig:
    """`[http]`: where the worker serves its health and metrics; empty for nowhere."""

    listen: str = "127.0.0.1:9464"

    @property
    def address(self) -> tuple[str, int] | None:
        """(host, port), or None when nothing is served."""
        host, _, port = self.listen.rpartition(":")
        return (host.strip("[]"), int(port)) if host else None


@dataclass(frozen=True, slots=True)
class Config:
    """All sections, and `folder`: that of the configuration file, from which its relative paths go."""

    folder: Path
    source: SourceConfig
    log: LogConfig
    schemas: SchemasConfig
    limits: Limits = Limits()
    http: HttpConfig = HttpConfig()

    @property
    def state(self) -> Path:
        """The folder of the worker's own memory, beside the configuration file and outside the log."""
        return self.folder / STATE_FOLDER

    @property
    def tables_path(self) -> Path:
        """Where the worker remembers what the mapped tables were."""
        return self.state / f"{self.log.location.state_name}.tables"

    @property
    def begin_path(self) -> Path:
        """Where `setup` notes from where on a log that has not begun is to have everything, where the source keeps no place for it."""
        return self.state / f"{self.log.location.state_name}.begin.json"

    @property
    def memory_path(self) -> Path:
        """Where the writer remembers the head of its log, outside the log."""
        return self.state / f"{self.log.location.state_name}.head"

    @property
    def state_path(self) -> Path:
        """Where the state of the log is cached."""
        return self.state / f"{self.log.location.state_name}.state.json"


@dataclass(frozen=True, slots=True)
class _Setting:
    """One value with the place it came from."""

    value: Any
    where: str
    base: Path


_Settings = dict[tuple[str, str], _Setting]


def load(
    path: str | Path | None = None,
    overrides: Mapping[str, Any] | None = None,
    *,
    need: tuple[str, ...] = ("source", "log"),
) -> Config:
    """Read the configuration.

    Args:
        path: The file; None for ./commitlog.toml, which may be absent if the environment and `overrides` say enough.
        overrides: From flags, `{"source.url": …}`; values of None are passed over. Relative paths go from the current folder.
        need: The sections that must be filled: "source" (a url) and "log" (a url and a name).

    Raises:
        UsageError: No such file, not TOML, an unknown key, a value that cannot be, or something needed is not said.
    """
    file = Path(FILE_NAME) if path is None else Path(path)
    if path is not None and not file.exists():
        raise UsageError(
            f"there is no configuration file {file}", hint="commitlog init postgresql://USER@HOST/DATABASE"
        )
    settings = _from_file(file) if file.exists() else {}
    for layer in (_from_environment(os.environ), _from_overrides(overrides or {})):
        _leave_password(settings, layer)
        settings.update(layer)
    _check(settings)
    _check_needed(settings, need, file)
    return _build(settings, file.absolute().parent)


def _leave_password(settings: _Settings, above: _Settings) -> None:
    """Take the password out where what stands above names another user, or says its password itself."""
    place = ("source", "url")
    url, before = (layer[place].value if place in layer else "" for layer in (above, settings))
    if isinstance(url, str) and url and isinstance(before, str):
        own = split_password(url)[1] is not None
        if own or (before and user_of(url) != user_of(before)):
            settings.pop(("source", "password"), None)


def slot_name(log_name: str) -> str:
    """The slot of a log, where the configuration names none: PostgreSQL allows 63 of a-z, 0-9 and _."""
    return f"commitlog_{log_name}".replace("-", "_").rstrip("_")[:63]


def _from_file(file: Path) -> _Settings:
    try:
        text = file.read_text(encoding="utf-8")
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as exc:
        raise UsageError(f"{file} is not TOML: {exc}", hint=f"correct {file}") from exc
    except UnicodeDecodeError as exc:
        raise UsageError(f"{file} is not UTF-8 at byte {exc.start}", hint=f"write {file} in UTF-8") from exc
    except OSError as exc:
        raise UsageError(f"{file} cannot be read: {exc.strerror}", hint="name a file that you may read") from exc
    settings: _Settings = {}
    for section, values in document.items():
        if not isinstance(values, dict):
            raise UsageError(f"{file}: {section!r} stands outside a section", hint=_nearest_section(section))
        for key, value in cast(dict[str, Any], values).items():
            settings[section, key] = _Setting(value, f"{file}{_line(text, section, key)}: ", file.absolute().parent)
        if section not in _KNOWN:
            raise UsageError(f"{file}: there is no section [{section}]", hint=_nearest_section(section))
    url = settings.get(("source", "url"))
    if url and isinstance(url.value, str) and split_password(url.value)[1] is not None:
        raise UsageError(
            f"{url.where}[source] url holds a password",
            hint='take it out, and write password = "env:NAME" or password = "file:PATH" below',
        )
    return _with_log_name(settings)


def _line(text: str, section: str, key: str) -> str:
    """`, line N` of a key, or nothing where the file writes it in a way this simple search does not see."""
    here = ""
    for number, line in enumerate(text.splitlines(), 1):
        bare = line.strip()
        if bare.startswith("["):
            here = bare.partition("]")[0].strip("[ \t\"'")
        elif here == section and bare.partition("=")[0].strip(" \t\"'") == key:
            return f", line {number}"
    return ""


def _from_environment(environment: Mapping[str, str]) -> _Settings:
    settings: _Settings = {}
    for name in sorted(environment):
        section, separator, key = name.removeprefix(ENVIRONMENT_PREFIX).lower().partition("__")
        if separator and name.startswith(ENVIRONMENT_PREFIX):
            value = _typed(section, key, environment[name])
            settings[section, key] = _Setting(value, f"{name} in the environment: ", Path.cwd())
    return _with_log_name(settings)


def _from_overrides(overrides: Mapping[str, Any]) -> _Settings:
    settings: _Settings = {}
    for name, value in overrides.items():
        section, _, key = name.partition(".")
        if value is not None:
            settings[section, key] = _Setting(value, "on the command line: ", Path.cwd())
    return _with_log_name(settings)


def _typed(section: str, key: str, text: str) -> object:
    """An environment variable as the number it must be; a text that is none stays, and is refused by the schema."""
    kind = _KNOWN.get(section, {}).get(key, {}).get("type")
    try:
        if kind in ("integer", "number"):
            return int(text) if text.lstrip("-").isdecimal() else float(text)
    except ValueError:
        pass
    return text


def _with_log_name(settings: _Settings) -> _Settings:
    """Let `file:FOLDER#NAME` set the name in the layer that says it."""
    url, named = settings.get(("log", "url")), settings.get(("log", "name"))
    if url is None or not isinstance(url.value, str) or "#" not in url.value:
        return settings
    name = url.value.partition("#")[2]
    if named is not None and named.value != name:
        raise UsageError(f"{url.where}[log] url and [log] name say two names", hint="leave one of them out")
    settings["log", "name"] = _Setting(name, url.where, url.base)
    return settings


def _check(settings: _Settings) -> None:
    for (section, key), setting in settings.items():
        if section not in _KNOWN:
            raise UsageError(f"{setting.where}there is no section [{section}]", hint=_nearest_section(section))
        if key not in _KNOWN[section]:
            near = difflib.get_close_matches(key, _KNOWN[section], 1, 0.5)
            hint = f"write {near[0]}" if near else f"[{section}] knows {', '.join(_KNOWN[section])}"
            raise UsageError(f"{setting.where}[{section}] has no key {key!r}", hint=hint)
        rule = _KNOWN[section][key]
        if _is_odd(setting.value) or not json_schema.is_valid(setting.value, rule):
            raise UsageError(f"{setting.where}[{section}] {key} is not what it must be", hint=f"write {rule['title']}")


def _is_odd(value: object) -> bool:
    """What JSON Schema lets pass: text with control characters (`$` matches before a line's end), and NaN."""
    return value != value if isinstance(value, float) else isinstance(value, str) and not value.isprintable()


def _nearest_section(section: str) -> str:
    near = difflib.get_close_matches(section, _KNOWN, 1, 0.5)
    return f"write [{near[0]}]" if near else f"the sections are {', '.join(_KNOWN)}"


def _check_needed(settings: _Settings, need: tuple[str, ...], file: Path) -> None:
    for section, key, flag in (("source", "url", "--source URL"), ("log", "url", "--log"), ("log", "name", "--log")):
        if section in need and (section, key) not in settings:
            if not file.is_file():
                raise UsageError(f"there is no {file} here", hint="commitlog init postgresql://USER@HOST/DATABASE")
            raise UsageError(f"{file}: [{section}] says no {key}", hint=f"write it there, or pass {flag}")


def _build(settings: _Settings, folder: Path) -> Config:
    sections: dict[str, dict[str, Any]] = {section: {} for section in _KNOWN}
    for (section, key), setting in settings.items():
        sections[section][key] = setting.value

    def path(section: str, key: str) -> Path:
        """The path of a setting, relative to the place that said it; by default the section's name."""
        text = sections[section].pop(key, section)
        base = settings[section, key].base if (section, key) in settings else folder
        return Path(os.path.normpath(base / Path(text).expanduser()))

    source, log = sections["source"], sections["log"]
    if source.get("password", "").startswith("file:"):
        source["password"] = f"file:{settings['source', 'password'].base / source['password'].removeprefix('file:')}"
    if "url" in log:
        log["url"] = log["url"].removeprefix("file:").partition("#")[0]
    name = log.pop("name", "")
    properties = path("log", "properties") if "properties" in log else None
    if log.get("url", "").startswith(SCHEME):
        kafka = KafkaLocation.parse(f"{log.pop('url')}#{name}", properties=properties)
        kafka.check_visibility(log.get("visibility", "own"))
        location: LogLocation = kafka
    else:
        location = Location(path("log", "url"), name)
    source.setdefault("slot", slot_name(name))
    return Config(
        folder=folder,
        source=SourceConfig(**source),
        log=LogConfig(location=location, **log),
        schemas=SchemasConfig(path=path("schemas", "path"), **sections["schemas"]),
        limits=Limits(**sections["limits"]),
        http=HttpConfig(**sections["http"]),
    )


_KNOWN: dict[str, dict[str, dict[str, Any]]] = {
    section: part["properties"] for section, part in json_schema.read("config")["properties"].items()
}
"""section -> key -> its JSON Schema."""
