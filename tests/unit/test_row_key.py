"""Keys as commands take them, where they look like something else."""

import json

import pytest

from commitlog.cdc.log.row_key import encode, format_key, parse_key
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
