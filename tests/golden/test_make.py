"""The golden files, held to what makes them, to the package's own reader and to the JSON Schema."""

import json
from pathlib import Path

import jsonschema
import pytest
from golden import make

from commitlog.schemas.record import Chain, Record

RECORDS = [Record.parse(line) for line in make.make().lines]
SCHEMA = json.loads((Path(__file__).parents[2] / "schemas" / "record.schema.json").read_text())


@pytest.mark.parametrize("path", make.files(), ids=lambda path: path.name)
def test_golden_files_are_as_made(path: Path) -> None:
    assert path.read_bytes() == make.files()[path]


def test_the_reader_takes_every_golden_record() -> None:
    chain = Chain()
    for record in RECORDS:
        assert chain.accept(record) == "new"
        record.check_tree()


def test_the_schema_is_a_json_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize("line", make.make().lines, ids=range(len(RECORDS)))
def test_every_golden_record_is_valid_under_the_schema(line: bytes) -> None:
    jsonschema.Draft202012Validator(SCHEMA).validate(json.loads(line))


BROKEN = {
    "header": [
        lambda h: h.pop("tree"),
        lambda h: h.update(v=2),
        lambda h: h.update(log="x" * 32),
        lambda h: h.update(seq=-1),
        lambda h: h.update(prev="0" * 63),
        lambda h: h.update(time="2026-11-22T10:11:12Z"),
        lambda h: h["source"].pop("after"),
        lambda h: h.update(void={"from": 1}),
        lambda h: h.update(part={"n": -1, "last": True}),
        lambda h: h.update(ref={"seq": 1}),
        lambda h: h.update(shapes=["no"]),
        lambda h: h.pop("schema"),
    ],
    "item": [
        lambda i: i.pop("key"),
        lambda i: i.update(op="upsert"),
        lambda i: i.update(shape="0"),
        lambda i: i["after"].update(total=12.5),
        lambda i: i["after"].update(doc={"a": 1}),
        lambda i: i.pop("after"),
        lambda i: i.update(newkey={"id": "1"}),
    ],
}


@pytest.mark.parametrize(("part", "number"), [(part, n) for part, all_ in BROKEN.items() for n in range(len(all_))])
def test_the_schema_refuses_a_record_broken_in_one_place(part: str, number: int) -> None:
    document = json.loads(make.make().lines[3])
    assert document["body"]["items"][2]["op"] == "insert"

    BROKEN[part][number](document["header"] if part == "header" else document["body"]["items"][2])

    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft202012Validator(SCHEMA).validate(document)
