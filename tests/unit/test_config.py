"""The configuration: file under environment under flags, and refusals that name file, line and key but no value."""

import dataclasses
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from commitlog.cdc import config, json_schema
from commitlog.cdc.config_template import log_name, render_default, write_default
from commitlog.cdc.database_url import split_password, with_password
from commitlog.schemas.errors import UsageError

URL = "postgresql://shop@127.0.0.1:5432/shop"
MINIMAL = f"""
[source]
url = "{URL}"

[log]
url = "file:log"
name = "shop"
"""


@pytest.fixture(autouse=True)
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Each test stands in a folder of its own, without settings in the environment."""
    monkeypatch.chdir(tmp_path)
    for name in list(config.os.environ):
        if name.startswith("COMMITLOG_"):
            monkeypatch.delenv(name)
    return tmp_path


def write(text: str, name: str = "commitlog.toml") -> Path:
    path = Path(name).absolute()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def refusal(overrides: dict[str, Any] | None = None, path: Path | None = None) -> UsageError:
    with pytest.raises(UsageError) as refused:
        config.load(path, overrides)
    return refused.value


def test_a_file_with_the_needed_keys_gives_the_defaults(tmp_path: Path) -> None:
    write(MINIMAL)
    loaded = config.load()
    assert loaded.source == config.SourceConfig(url=URL, publication="commitlog", slot="commitlog_shop")
    assert str(loaded.log.location) == f"file:{tmp_path}/log#shop"
    assert loaded.log.visibility == "own"
    assert loaded.schemas.path == tmp_path / "schemas"
    assert loaded.limits == config.Limits()
    assert loaded.http.address == ("127.0.0.1", 9464)
    assert loaded.state == tmp_path / ".commitlog"


def test_a_flag_goes_over_the_environment_and_that_over_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    write(MINIMAL + '[limits]\nflush_ms = 1\n[http]\nlisten = ""\n')
    assert config.load().limits.flush_ms == 1
    assert config.load().http.address is None
    monkeypatch.setenv("COMMITLOG_LIMITS__FLUSH_MS", "2.5")
    monkeypatch.setenv("COMMITLOG_LIMITS__FLUSH_BYTES", "77")
    monkeypatch.setenv("COMMITLOG_SOURCE__URL", "postgresql:///env")
    assert config.load().limits == config.Limits(flush_ms=2.5, flush_bytes=77)
    assert config.load().source.url == "postgresql:///env"
    over = config.load(overrides={"source.url": "postgresql:///flag", "limits.flush_ms": 3, "log.name": None})
    assert (over.source.url, over.limits.flush_ms) == ("postgresql:///flag", 3)


def test_relative_paths_go_from_where_they_were_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(MINIMAL + '[schemas]\npath = "../apps/one.yaml"\n', "etc/shop/commitlog.toml")
    write("secret\n", "etc/shop/pw")
    file = tmp_path / "etc/shop/commitlog.toml"
    loaded = config.load(file)
    assert loaded.log.location.folder == tmp_path / "etc/shop/log"
    assert loaded.schemas.path == tmp_path / "etc/apps/one.yaml"
    assert loaded.state == tmp_path / "etc/shop/.commitlog"
    assert config.load(file, {"log.url": "file:here"}).log.location.folder == tmp_path / "here"
    monkeypatch.setenv("COMMITLOG_SOURCE__PASSWORD", "file:etc/shop/pw")
    assert config.load(file).source.conninfo() == "postgresql://shop:secret@127.0.0.1:5432/shop"


def test_no_file_is_needed_where_the_environment_says_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMMITLOG_SOURCE__URL", URL)
    monkeypatch.setenv("COMMITLOG_LOG__URL", "file:/var/lib/commitlog#shop")
    assert str(config.load().log.location) == "file:/var/lib/commitlog#shop"


def test_a_log_alone_is_enough_for_who_only_reads() -> None:
    assert config.load(overrides={"log.url": "file:/copy#shop"}, need=("log",)).log.location.name == "shop"
    assert refusal({"log.url": "file:/copy#shop"}).hint.startswith("commitlog init")


def test_a_log_of_another_name_on_the_command_line_goes_over_both_keys_of_the_file() -> None:
    write(MINIMAL)
    location = config.load(overrides={"log.url": "file:/copy#other"}).log.location
    assert (str(location.folder), location.name) == ("/copy", "other")


def test_a_missing_file_and_a_missing_key_say_what_to_do() -> None:
    assert refusal(path=Path("none.toml")).hint.startswith("commitlog init postgresql://")
    assert "there is no commitlog.toml here" in str(refusal())
    write("[log]\nurl = 'file:log#shop'\n")
    assert str(refusal()) == "commitlog.toml: [source] says no url"
    write(f"[source]\nurl = '{URL}'\n[log]\nurl = 'file:log'\n")
    assert str(refusal()) == "commitlog.toml: [log] says no name"


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("[source]\nulr = 'x'", "commitlog.toml, line 2: [source] has no key 'ulr'", "write url"),
        (
            "[source]\n\n  xyz = 1",
            "line 3: [source] has no key 'xyz'",
            "[source] knows url, password, publication, slot",
        ),
        ("[sorce]\nurl = 'x'", "there is no section [sorce]", "write [source]"),
        ("[limits]\nflush_ms = -1", "line 2: [limits] flush_ms is not what", "write milliseconds from 0 to 60000"),
        ("[limits]\nflush_ms = nan", "[limits] flush_ms is not what", "milliseconds"),
        ("[limits]\nflush_ms = true", "[limits] flush_ms is not what", "milliseconds"),
        ("[limits]\npart_bytes = 1.5", "[limits] part_bytes is not what", "bytes"),
        ("[log]\nname = '../up'", "[log] name is not what", "1 to 64"),
        ('[log]\nname = "shop\\n"', "[log] name is not what", "1 to 64"),
        ("[log]\nvisibility = 'public'", "[log] visibility is not what", "write own or shared"),
        ("[log]\nurl = 'http://h/p'", "[log] url is not what", "write file:FOLDER"),
        ("[source]\nurl = 'oracle://h/d'", "[source] url is not what", "write postgresql://"),
        ("[source]\nslot = 'A-B'", "[source] slot is not what", "a-z, 0-9"),
        ("[source]\npassword = 'hunter2'", "line 2: [source] password is not what", "write env:NAME or file:PATH"),
        ("[source]\nurl = 'postgresql://u:hunter2@h/d'", "line 2: [source] url holds a password", "env:NAME"),
        ("[source]\nurl = 'postgresql://h/d?x=1&password=hunter2'", "url holds a password", "env:NAME"),
        ("[log]\nurl = 'file:a#b'\nname = 'c'", "say two names", "leave one"),
        ("[source\nurl=1", "commitlog.toml is not TOML", "correct"),
        ("url = 'x'", "'url' stands outside a section", "sections are source"),
        ("[source]\nurl = 'x'\nurl = 'y'", "is not TOML", "Cannot overwrite a value"),
        ("[[source]]\nurl = 'x'", "'source' stands outside a section", "write [source]"),
    ],
)
def test_a_wrong_file_is_refused_with_line_key_and_the_way_on(text: str, message: str, hint: str) -> None:
    write(text)
    refused = refusal()
    assert message in str(refused)
    assert hint in refused.hint or hint in str(refused)
    assert "hunter2" not in str(refused) + refused.hint
    assert refused.exit_code == 2


def test_what_cannot_be_read_is_refused_with_the_way_on(tmp_path: Path) -> None:
    (tmp_path / "binary.toml").write_bytes(b"\xff")
    for name, message in (("binary.toml", "is not UTF-8 at byte 0"), (".", "cannot be read: Is a directory")):
        with pytest.raises(UsageError, match=message) as caught:
            config.load(str(tmp_path / name))
        assert caught.value.hint


def test_a_wrong_variable_and_a_wrong_flag_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    write(MINIMAL)
    assert str(refusal({"limits.flush_ms": -1})).startswith("on the command line: [limits] flush_ms")
    monkeypatch.setenv("COMMITLOG_LIMITS__FLUSH_MS", "soon")
    assert str(refusal()).startswith("COMMITLOG_LIMITS__FLUSH_MS in the environment: [limits] flush_ms")
    monkeypatch.delenv("COMMITLOG_LIMITS__FLUSH_MS")
    monkeypatch.setenv("COMMITLOG_SOURCE__ULR", "x")
    assert refusal().hint == "write url"
    monkeypatch.delenv("COMMITLOG_SOURCE__ULR")
    monkeypatch.setenv("COMMITLOG_SESSION_KEY", "k")
    config.load()


def test_a_password_comes_from_where_the_file_says_and_is_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    write(MINIMAL.replace("[log]", 'password = "env:SHOP_PASSWORD"\n[log]'))
    source = config.load().source
    with pytest.raises(UsageError, match="SHOP_PASSWORD, which is not set"):
        source.conninfo()
    monkeypatch.setenv("SHOP_PASSWORD", "a:b/c@d %?#")
    assert source.conninfo() == "postgresql://shop:a%3Ab%2Fc%40d%20%25%3F%23@127.0.0.1:5432/shop"
    in_url = config.load(overrides={"source.url": "postgresql://u:hunter2@h/d"}).source
    assert in_url.shown == "postgresql://u@h/d"
    assert "hunter2" not in repr(in_url)
    missing = dataclasses.replace(source, password="file:/nowhere/pw")
    with pytest.raises(UsageError, match="cannot be read from /nowhere/pw"):
        missing.conninfo()


def test_the_files_password_is_for_the_user_that_it_names_and_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    write(MINIMAL.replace("[log]", 'password = "env:SHOP_PASSWORD"\n[log]'))
    monkeypatch.setenv("SHOP_PASSWORD", "worker")

    def conninfo(url: str) -> str:
        return config.load(overrides={"source.url": url}).source.conninfo()

    assert conninfo("postgresql://shop@other/shop") == "postgresql://shop:worker@other/shop"
    assert conninfo("postgresql://dba@h/shop") == "postgresql://dba@h/shop"
    assert conninfo("postgresql://h/shop?user=dba") == "postgresql://h/shop?user=dba"
    assert conninfo("postgresql://shop:own@h/shop") == "postgresql://shop:own@h/shop"
    monkeypatch.setenv("COMMITLOG_SOURCE__URL", "postgresql://dba:env@h/shop")
    assert config.load().source.conninfo() == "postgresql://dba:env@h/shop"


@given(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
    st.sampled_from(["u@h/d", "u@h:1,g:2/d", "/d?host=/tmp", "h/d"]),
)
def test_any_password_goes_into_a_url_and_out_again(password: str, rest: str) -> None:
    bare = f"postgresql://{rest}"
    assert split_password(with_password(bare, password)) == (bare, password)


def test_the_written_file_runs_as_it_is_and_keeps_the_password_apart(tmp_path: Path) -> None:
    written = write_default(tmp_path, "postgresql://u:hunter2@h/My%20Shop")
    assert [path.relative_to(tmp_path).as_posix() for path in written] == ["commitlog.toml", ".commitlog/password"]
    assert "hunter2" not in written[0].read_text()
    assert written[1].stat().st_mode & 0o777 == 0o600
    loaded = config.load()
    assert loaded.log.location.name == "my-shop"
    assert loaded.source.slot == "commitlog_my_shop"
    assert loaded.source.conninfo() == "postgresql://u:hunter2@h/My%20Shop"
    with pytest.raises(UsageError, match="is there already"):
        write_default(tmp_path, URL)


def test_a_log_on_kafka_is_written_as_such_and_what_is_no_place_for_a_log_is_refused(tmp_path: Path) -> None:
    write_default(tmp_path, URL, name="shop", log="kafka://localhost:9092/acme")
    assert str(config.load(tmp_path / "commitlog.toml").log.location) == "kafka://localhost:9092/acme#shop"
    for log in ("kafka://localhost", "kafka://localhost/acme#shop", "file:log#shop", "log"):
        with pytest.raises(UsageError):
            render_default(URL, log=log)


@given(st.text(max_size=80))
def test_any_database_name_gives_a_log_name_that_the_rules_allow(name: str) -> None:
    rules = json_schema.read("config")["properties"]["log"]["properties"]["name"]
    assert json_schema.is_valid(log_name("postgresql://h/" + quote(name, safe="", errors="replace")), rules)


@pytest.mark.parametrize("engine", ["mysql", "mariadb"])
def test_a_default_for_mysql_is_read_as_it_stands_and_asks_for_no_slot(tmp_path: Path, engine: str) -> None:
    write_default(tmp_path, f"{engine}://u:geheim@h/Shop")

    text = (tmp_path / "commitlog.toml").read_text()
    loaded = config.load(tmp_path / "commitlog.toml")

    assert loaded.source.url == f"{engine}://u@h/Shop"
    assert loaded.source.conninfo() == f"{engine}://u:geheim@h/Shop"
    assert loaded.log.location.name == "shop"
    assert "slot" not in text
    assert "PGPASSWORD" not in text
    assert "geheim" not in text


def test_no_source_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    for url in ("oracle://h/d", "mysql://h", "postgres", "postgresql://h/d\n[log]", "postgresql://[::1/d"):
        with pytest.raises(UsageError):
            render_default(url)
    assert list(tmp_path.iterdir()) == []


def test_the_json_schema_and_the_dataclasses_know_the_same_keys() -> None:
    sections = json_schema.read("config")["properties"]
    assert list(sections) == ["source", "log", "schemas", "limits", "http"]
    for name, kind in [
        ("source", config.SourceConfig),
        ("schemas", config.SchemasConfig),
        ("limits", config.Limits),
        ("http", config.HttpConfig),
    ]:
        assert set(sections[name]["properties"]) == {field.name for field in dataclasses.fields(kind)}
    assert set(sections["log"]["properties"]) == {"url", "properties", "name", "visibility"}
    assert all("title" in key for section in sections.values() for key in section["properties"].values())
