"""App schemas in files: YAML and JSON, and every error with its file and line."""

import json
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from commitlog.cdc.app_schemas.files import findings, load_file, load_path, load_text, reload_registry
from commitlog.schemas.errors import Refused, SchemaError, UsageError
from commitlog.transforms.registry import Registry

GOOD = """\
schema: commitlog.app/v1
app: shop
database: main
builds: ["sha256:9f2b", "1.4.*"]
default: true
entities:
  Order:
    from: public.orders
    key: [id]
    fields:
      id: {class: public}
      status:
        class: public
        merge: theirs
"""


def refusal(text: str, name: str = "shop.yaml") -> str:
    with pytest.raises(SchemaError) as refused:
        load_text(text.encode(), origin=name)
    return str(refused.value)


def test_yaml_and_json_of_the_same_schema_have_one_id(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(GOOD)
    schema = load_file(tmp_path / "a.yaml")
    (tmp_path / "b.json").write_text("\ufeff" + json.dumps(json.loads(schema.data), indent="\t"))
    (tmp_path / "notes.txt").write_text("not a schema")
    assert [s.id for s in load_path(tmp_path)] == [schema.id, schema.id]
    assert schema.origin == str(tmp_path / "a.yaml")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("app: shop", "app: [shop]", "shop.yaml:2: app: this must be text"),
        ("app: shop", "app: 1.10", "shop.yaml:2: app: this must be text"),
        ("app: shop", "app: 2026-11-22", "shop.yaml:2: app: this must be text"),
        ("app: shop", "app: null", "shop.yaml:2: app: this must be text"),
        ("app: shop", "app: no", "shop.yaml:2: app: this must be text"),
        ("app: shop\n", "", "shop.yaml:1: app is missing"),
        ('"1.4.*"]', "1.4]", "shop.yaml:4: builds[1]: this must be text"),
        ("from: public.orders", "from: orders", "shop.yaml:8: entities.Order.from: 'orders' is not a table"),
        ("merge: theirs", "merge: their", "shop.yaml:14: entities.Order.fields.status.merge: merge must be one of"),
        ("        class: public\n", "", "shop.yaml:12: entities.Order.fields.status: class is missing"),
        ("      status:", "      id:", "shop.yaml:12: entities.Order.fields.id: id stands twice"),
        ("app: shop", "app: shop\napp: shop", "shop.yaml:3: app: app stands twice"),
        ("key: [id]", "key: &k [id]", "shop.yaml:9: anchors, aliases and tags are not taken"),
        ("app: shop", "app: !!python/name:os.system x", "shop.yaml:2: anchors, aliases and tags are not taken"),
        ("key: [id]", "key: [id", "shop.yaml:10: not YAML"),
        ("  Order:", "\tOrder:", "shop.yaml:7: not YAML"),
        ("app: shop", "app: shop\n---\n", "shop.yaml:3: not YAML"),
        ("id: {class: public}", "1: {class: public}", "entities.Order.fields: the key 1 must be text"),
        ("id: {class: public}", "[a]: {class: public}", "shop.yaml:11: entities.Order.fields: a key must be text"),
        ("app: shop", "app: sh\x00op", "not YAML"),
        ("app: shop", "app: " + "[" * 40, "shop.yaml:2: the document is nested too deep"),
    ],
)
def test_s1_an_error_names_file_line_and_place(old: str, new: str, message: str) -> None:
    assert old in GOOD
    text = refusal(GOOD.replace(old, new, 1))
    assert message in text


def test_s1_json_errors_name_file_and_line() -> None:
    good = json.dumps(json.loads(load_text(GOOD.encode(), origin="x.yaml").data), indent=2)
    assert refusal(good.replace('"app": "shop",', '"app": "shop"'), "s.json").startswith("s.json:4: not JSON")
    assert refusal(good.replace('"shop"', "7"), "s.json").startswith("s.json:3: app: this must be text")
    assert (
        refusal(good.replace('"app": "shop",', '"app": "shop", "app": "shop",'), "s.json")
        == "s.json:3: app: app stands twice"
    )


@pytest.mark.parametrize(
    "text", ["", "# nothing\n", "text", "- 1", "[[[[", "{" * 5000, "[" * 100_000, "\xff\xfe", '{"a":1}']
)
@pytest.mark.parametrize("name", ["s.yaml", "s.json"])
def test_d1_no_document_is_refused_by_file_name(text: str, name: str) -> None:
    assert refusal(text, name).startswith(name)


def test_d1_bytes_that_are_not_utf8_or_too_many_are_refused() -> None:
    with pytest.raises(SchemaError, match=r"s\.yaml: the file is not UTF-8 at byte 1"):
        load_text(b"a\xff", origin="s.yaml")
    with pytest.raises(SchemaError, match="above 1 MiB"):
        load_text(b"#" * (1 << 20) + b"#", origin="s.yaml")


def test_a_bomb_of_aliases_is_refused_before_it_grows() -> None:
    bomb = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
        f"{b}: &{b} [{','.join(['*' + a] * 9)}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)
    )
    assert refusal(bomb).startswith("shop.yaml:1: anchors")


@given(st.binary(max_size=200) | st.text(alphabet="a:-[]{}\"'\n &*!|>%@`#,?\t", max_size=60).map(str.encode))
def test_d1_any_bytes_are_a_schema_or_a_schema_error(data: bytes) -> None:
    for name in ("s.yaml", "s.json"):
        with pytest.raises(SchemaError, match=r"^s\.(yaml|json)"):
            load_text(data, origin=name)


@given(st.integers(0, len(GOOD) - 1), st.characters(codec="utf-8"))
def test_d1_one_changed_character_is_read_or_refused(at: int, char: str) -> None:
    message = "s.yaml"
    try:
        load_text((GOOD[:at] + char + GOOD[at + 1 :]).encode(), origin="s.yaml")
    except SchemaError as exc:
        message = str(exc)
    assert message.startswith("s.yaml")


def test_s2_findings_name_the_line_of_each_unknown_column(tmp_path: Path) -> None:
    file = tmp_path / "shop.yaml"
    file.write_text(GOOD)
    assert findings(file, "own", {"public.orders": ["id", "status"]}) == []
    assert findings(file, "own", {"public.orders": ["id", "state"]}) == [
        (f"{file}:12: entities.Order.fields.status: public.orders has no column status", "write state")
    ]
    assert findings(file, "own", {"public.order": ["id"]})[0][0].startswith(
        f"{file}:8: entities.Order.from: the database has no table"
    )
    assert findings(file, "shared", None)[0][0].startswith(
        f"{file}:7: entities.Order: public fields in a shared log need a license"
    )


def test_a_file_that_is_not_there_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"none\.yaml cannot be read"):
        load_path(tmp_path / "none.yaml")


def test_schemas_are_read_again_when_asked_and_what_cannot_be_leaves_those_in_force(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    asked, used = threading.Event(), list[Registry]()

    def reload(path: Path) -> bool:
        asked.set()
        return reload_registry(path, asked, used.append)

    assert not reload_registry(tmp_path, asked, used.append)
    for gone in (tmp_path / "gone", tmp_path):
        assert reload(gone)
        assert not asked.is_set()
    (tmp_path / "bad.yaml").write_text("- no")
    assert reload(tmp_path)
    assert used == []
    assert [record.levelname for record in caplog.records] == ["ERROR"] * 3

    (tmp_path / "bad.yaml").write_text(GOOD)
    assert reload(tmp_path)
    assert [schema.app for schema in used[0].schemas] == ["shop"]

    def refuse(_: Registry) -> None:
        raise Refused("a table is not published")

    asked.set()
    assert reload_registry(tmp_path, asked, refuse)
    assert caplog.records[-1].getMessage() == "app schemas not read: a table is not published"
