"""Keys as commands take them, where they look like something else."""

import json

import pytest

from commitlog.cdc.log.row_key import encode, format_key, parse_key, parse_keys
from commitlog.schemas.errors import UsageError
from commitlog.schemas.shape import Column, Shape


def shape(*fields: str) -> Shape:
    columns = tuple(Column(field, "exact", "integer[]") for field in fields)
    return Shape.make("Row", "public.row", key=fields, columns=columns)


@pytest.mark.parametrize(
    "value", ["{1,2}", "{}", '{"a b",NULL}', "[0:1]={1,2}", '{"a":1}', "{a:b}", "(1,2)", '{"[1,2)"}']
)
def test_the_key_of_an_array_or_json_is_taken_as_it_is_printed(value: str) -> None:
    assert parse_key(format_key({"id": value}), shape("id")) == encode([value])


@pytest.mark.parametrize("value", ["{1,2}", '{"a b",NULL}', "{NULL}", "{a,b}", '{"x,y"}'])
def test_the_key_of_an_array_may_be_written_plain(value: str) -> None:
    assert parse_key(value, shape("id")) == encode([value])


def test_what_names_other_fields_than_the_key_has_is_refused() -> None:
    for text in ('{"b":1}', "{}", '{"id":1', '{"id": [1]}'):
        with pytest.raises(UsageError):
            parse_key(text, shape("id"))
    with pytest.raises(UsageError):
        parse_key("{1,2}", shape("a", "b"))
    assert parse_key(json.dumps({"a": "{1,2}", "b": "x"}), shape("a", "b")) == encode(["{1,2}", "x"])


def document() -> Shape:
    return Shape.make("Row", "shop.row", key=("_id",), columns=(Column("_id", "bson", "any"),))


@pytest.mark.parametrize(
    ("value", "printed"),
    [
        ('{"$numberInt":"17"}', "17"),
        ('{"$numberInt":"-1"}', "-1"),
        ('{"$numberLong":"5000000000"}', '{"$numberLong":"5000000000"}'),
        ('{"$numberLong":"17"}', '{"$numberLong":"17"}'),
        ('{"$oid":"65a1b2c3d4e5f60718293a4b"}', "65a1b2c3d4e5f60718293a4b"),
        ('"ann"', "ann"),
        ('"Åse ☃"', "Åse ☃"),
        ('"17"', '"17"'),
        ('"65a1b2c3d4e5f60718293a4b"', '"65a1b2c3d4e5f60718293a4b"'),
        ('"{\\"_id\\":\\"x\\"}"', '"{\\"_id\\":\\"x\\"}"'),
        ('"null"', '"null"'),
        ("null", "null"),
        ("true", "true"),
        ('""', '""'),
        ('"a\\nb"', '"a\\nb"'),
        ('{"a":{"$numberInt":"1"},"b":"x"}', '{"a":{"$numberInt":"1"},"b":"x"}'),
        ('{"$numberDouble":"17.0"}', '{"$numberDouble":"17.0"}'),
    ],
)
def test_the_key_of_a_document_is_printed_short_and_read_as_the_same(value: str, printed: str) -> None:
    assert format_key({"_id": value}, {"_id": "bson"}) == printed
    assert encode([value]) in parse_keys(printed, document())
    assert encode([value]) in parse_keys(json.dumps({"_id": value}), document())


def test_a_number_may_be_the_key_of_a_document_in_each_of_its_types() -> None:
    wanted = ['{"$numberInt":"17"}', '{"$numberLong":"17"}', '"17"']
    assert set(parse_keys("17", document())) >= {encode([value]) for value in wanted}
