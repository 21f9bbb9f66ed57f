"""What a fork makes in its database, what it refuses to touch, and what it takes away again."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from psycopg import sql

from commitlog.cdc.fork.growth import drop
from commitlog.cdc.fork.plan import is_fork_of, make_plan
from commitlog.cdc.fork.postgres.tables import widens
from commitlog.cdc.fork.postgres.target import Target
from commitlog.schemas.errors import Locked, Refused, UsageError
from fixtures.fork_log import Fork, MadeLog, column

ID = column("id", "int32", nullable=False)
ODD_NAMES = (
    'a "quoted" name',
    "with spaces ; DROP TABLE x; --",
    "new\nline\ttab",
    "x" * 63,
    "ünïcödé 名前 🦊",
    "per%cent %s %(x)s",
    "back\\slash 'single'",
    "{}",
    "SELECT",
)


@pytest.fixture
def log(made_log: MadeLog) -> MadeLog:
    return made_log


@pytest.fixture
def fork(log: MadeLog, new_database: Callable[[], str]) -> Fork:
    return Fork(log, new_database())


def objects(fork: Fork) -> list[tuple[Any, ...]]:
    """What there is in the database beside the system's own."""
    return fork.sql(
        "SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
        " WHERE n.nspname !~ '^(pg_|information_schema)' UNION ALL SELECT n.nspname, t.typname FROM pg_type t"
        " JOIN pg_namespace n ON n.oid = t.typnamespace WHERE t.typtype = 'e' UNION ALL SELECT '', nspname"
        " FROM pg_namespace WHERE nspname !~ '^(pg_|information_schema)' ORDER BY 1, 2"
    )


def lines(fork: Fork) -> str:
    """The plan as it is shown."""
    with Target(fork.url) as target:
        return "\n".join(make_plan(fork.log.reader, target).lines())


def test_n1_names_are_names_whatever_they_hold(log: MadeLog, fork: Fork) -> None:
    for number, name in enumerate(ODD_NAMES):
        _write_odd_history(log, f"Odd{number}", name)

    fork.sync()

    for name in ODD_NAMES:
        table, field = sql.Identifier(name, name), sql.Identifier(name[:60] + "_v")
        assert fork.sql(sql.SQL("SELECT * FROM {} ORDER BY 1").format(table)) == [(1, "x", name), (3, name, name)]
        fork.sql(sql.SQL("UPDATE {} SET {} = 'mine'").format(table, field))
    for number, name in enumerate(ODD_NAMES):
        log.commit(log.update(f"Odd{number}", 3, {name[:60] + "_v": name}, {name[:60] + "_v": "y"}))
    fork.sync()
    assert sorted(conflict["field"] for conflict in fork.conflicts()) == sorted(name[:60] + "_v" for name in ODD_NAMES)
    with Target(fork.url) as target:
        assert drop(target) == []
    assert objects(fork) == [("", "public")]


def _write_odd_history(log: MadeLog, entity: str, name: str) -> None:
    """Every kind of change in a table whose schema, name, key, columns, type and values have an odd name."""
    quoted = '"' + name.replace('"', '""') + '"'
    enum = '"' + name[:60].replace('"', '""') + '_t"'
    text, mood = name[:60] + "_v", name[:60] + "_e"
    log.shape(
        entity,
        column(name, "int32", nullable=False),
        column(text),
        column(mood, "enum", f"{quoted}.{enum}", labels=(name, "other")),
        key=[name],
        table=f"{quoted}.{quoted}",
    )
    row = {name: 1, text: name, mood: name}
    log.snapshot(entity, row)
    log.commit(log.insert(entity, {**row, name: 2}), log.update(entity, 1, {text: name}, {text: "x"}))
    log.commit(log.rekey(entity, 2, 3), log.insert(entity, {**row, name: 4}))
    log.commit(log.delete(entity, {**row, name: 4}))


@pytest.mark.parametrize(("entity", "field"), [("Long", "x" * 64), ("Null", "a\0b")])
def test_a_name_that_postgresql_would_cut_is_refused(log: MadeLog, fork: Fork, entity: str, field: str) -> None:
    log.shape(entity, ID, column(field))

    with pytest.raises(Refused, match="cannot be a name"):
        fork.sync()


TYPES: list[tuple[str, str, int, object, str, str]] = [
    ("bool", "boolean", -1, True, "boolean", "true"),
    ("int16", "smallint", -1, -32768, "smallint", "-32768"),
    ("int32", "integer", -1, 2147483647, "integer", "2147483647"),
    ("int64", "bigint", -1, "-9223372036854775808", "bigint", "-9223372036854775808"),
    ("decimal", "numeric(10,2)", (10 << 16) + 2 + 4, "12.50", "numeric(10,2)", "12.50"),
    ("decimal", "numeric", -1, "NaN", "numeric", "NaN"),
    ("float32", "real", -1, "1.1", "real", "1.1"),
    ("float64", "double precision", -1, "-Infinity", "double precision", "-Infinity"),
    ("money", "money", -1, "$12.50", "money", "$12.50"),
    ("text", "character varying(5)", 9, "a'\"\\b", "character varying(5)", "a'\"\\b"),
    ("text", "character(4)", 8, "ab  ", "character(4)", "ab"),
    ("text", "name", -1, "n", "name", "n"),
    ("uuid", "uuid", -1, "6f2c3c1e-0000-4000-8000-000000000001", "uuid", "6f2c3c1e-0000-4000-8000-000000000001"),
    ("json", "json", -1, '{"a": 1,  "a":2}', "json", '{"a": 1,  "a":2}'),
    ("jsonb", "jsonb", -1, '{"a": 1.10}', "jsonb", '{"a": 1.10}'),
    ("bytes", "bytea", -1, "AP+A", "bytea", "\\x00ff80"),
    ("date", "date", -1, "infinity", "date", "infinity"),
    ("date", "date", -1, "0044-03-15 BC", "date", "0044-03-15 BC"),
    ("time", "time without time zone", -1, "10:11:12.345678", "time without time zone", "10:11:12.345678"),
    ("timetz", "time with time zone", -1, "10:11:12+02", "time with time zone", "10:11:12+02"),
    ("interval", "interval", -1, "P1DT2H", "interval", "P1DT2H"),
    ("timestamp", "timestamp(3) without time zone", 3, "2026-11-22T10:11:12.345", "timestamp(3) without time zone",
     "2026-11-22 10:11:12.345"),
    ("instant", "timestamp with time zone", -1, "2026-11-22T10:11:12.5Z", "timestamp with time zone",
     "2026-11-22 10:11:12.5+00"),
    ("exact", "integer[]", -1, "{1,NULL,3}", "integer[]", "{1,NULL,3}"),
    ("exact", "text[]", -1, '{"a,b",NULL}', "text[]", '{"a,b",NULL}'),
    ("exact", "inet", -1, "10.0.0.1", "inet", "10.0.0.1/32"),
    ("exact", "int4range", -1, "[1,5)", "int4range", "[1,5)"),
    ("exact", "bit(3)", 3, "101", "bit(3)", "101"),
    ("exact", "point", -1, "(1,2)", "point", "(1,2)"),
    ("exact", "regclass", -1, "public.gone", "text", "public.gone"),
    ("exact", "public.geometry", -1, "0101", "text", "0101"),
    ("exact", "public.mood[]", -1, "{a,b}", "text", "{a,b}"),
    ("int32", "public.age", -1, 5, "integer", "5"),
    ("text", "public.email", -1, "a@b", "text", "a@b"),
    ("exact", "no such type; DROP", -1, "x", "text", "x"),
]  # fmt: skip


def test_a_column_gets_its_own_type_where_it_is_built_in_and_text_where_it_is_not(log: MadeLog, fork: Fork) -> None:
    fields = [f"v{number}" for number in range(len(TYPES))]
    columns = [column(f, t[0], t[1], modifier=t[2]) for f, t in zip(fields, TYPES, strict=True)]
    values = {f: t[3] for f, t in zip(fields, TYPES, strict=True)}
    nulls = dict.fromkeys(fields)
    log.shape("T", ID, *columns)
    log.snapshot("T", {"id": 1, **values})
    log.commit(log.insert("T", {"id": 2, **nulls}), log.insert("T", {"id": 3, **values}))
    log.commit(log.update("T", 2, nulls, values), log.delete("T", {"id": 3, **values}))

    fork.sync()

    assert fork.conflicts() == []
    with Target(fork.url) as target:
        made = target.column_types("public", "t")
        assert [made[f] for f in fields] == [t[4] for t in TYPES]
        rows = target.rows(f"SELECT {', '.join(f'{f}::text' for f in fields)} FROM public.t ORDER BY id")
    assert [dict(zip(fields, row, strict=True)) for row in rows] == [
        {f: t[5] for f, t in zip(fields, TYPES, strict=True)}
    ] * 2
    fork.sql("DELETE FROM public.t WHERE id = 2")
    fork.sql("INSERT INTO public.t (id) VALUES (2)")
    log.commit(log.delete("T", {"id": 2, **values}), log.delete("T", {"id": 1, **values}))
    fork.sync()
    assert fork.sql("SELECT id FROM public.t") == [(2,)]
    assert fork.conflict()["base"] == {"id": 2, **values}


@pytest.mark.parametrize("value", ["x" * 300, "not a number", "a\0b"])
def test_a_value_that_is_not_one_of_its_type_is_a_conflict(log: MadeLog, fork: Fork, value: str) -> None:
    log.shape("T", ID, column("v", "decimal", "numeric(4,2)", modifier=(4 << 16) + 2 + 4))
    log.commit(log.insert("T", {"id": 1, "v": value}), log.insert("T", {"id": 2, "v": "1.5"}))

    fork.sync()

    assert fork.sql("SELECT id, v::text FROM public.t") == [(2, "1.50")]
    assert (fork.conflict()["kind"], fork.conflict()["theirs"]) == ("value", {"id": 1, "v": value})


def test_the_plan_says_what_will_be_made_and_writes_nothing(log: MadeLog, fork: Fork) -> None:
    log.shape(
        "Order",
        column("id", "int64", nullable=False, identity=True),
        column("n", "int32", identity=True),
        column("total", "int32", generated=True),
        column("place", "exact", "public.geometry"),
        column("mood", "enum", "shop.mood", labels=("sad", "ok")),
        column("name", collation="de_DE"),
        table='shop."Order"',
    )
    before = objects(fork)

    text = lines(fork)

    assert objects(fork) == before
    assert text.splitlines()[2:9] == [
        'make table shop."Order" for Order, key id',
        "    id bigint: numbers given out here start at 1099511627776",
        "    n integer: numbers given out here start at 1073741824",
        "    total integer: computed upstream, a plain value here",
        "    place text: the source's public.geometry becomes text",
        "    mood shop.mood: an enum of 2 labels",
        "    name text: without the collation de_DE",
    ]


def test_numbers_given_out_here_stay_clear_of_upstreams(log: MadeLog, fork: Fork) -> None:
    log.shape("Order", column("id", "int64", nullable=False, identity=True), column("status"))
    log.snapshot("Order", {"id": "1", "status": "new"})
    fork.sync()

    fork.sql("INSERT INTO public.order (status) VALUES ('mine')".replace("public.order", 'public."order"'))

    assert fork.sql('SELECT id FROM public."order" ORDER BY 1') == [(1,), (1 << 40,)]


def test_null_is_refused_only_where_every_shape_refuses_it(log: MadeLog, fork: Fork) -> None:
    log.shape("Order", ID, column("a", nullable=False), column("b", nullable=False))
    log.shape("Order", ID, column("a", nullable=False), column("b"))
    fork.sync()
    assert fork.sql("SELECT attname FROM pg_attribute WHERE attrelid = 'public.\"order\"'::regclass AND attnum > 0"
                    " AND attnotnull ORDER BY attnum") == [("id",), ("a",)]  # fmt: skip
    log.shape("Order", ID, column("b"), column("c", nullable=False))
    log.commit(log.insert("Order", {"id": 1, "b": None, "c": "c"}))

    fork.sync()

    assert fork.sql('SELECT id, a, b, c FROM public."order"') == [(1, None, None, "c")]
    assert fork.conflicts() == []


def test_a_column_that_a_later_build_publishes_is_added_and_was_never_told_of_older_rows(
    log: MadeLog, fork: Fork
) -> None:
    log.shape("Order", ID, column("status"))
    log.snapshot("Order", {"id": 1, "status": "new"}, {"id": 2, "status": "new"})
    fork.sync()
    log.shape("Order", ID, column("status"), column("channel", nullable=False))
    log.commit(log.insert("Order", {"id": 3, "status": "new", "channel": "app"}))
    # The table's default, "web", stands in rows 1 and 2 at the source; no record said so.
    log.commit(log.update("Order", 1, {"channel": "web"}, {"channel": "app"}))
    log.commit(log.delete("Order", {"id": 2, "status": "new", "channel": "web"}))

    fork.sync()

    assert fork.sql('SELECT id, status, channel FROM public."order" ORDER BY 1') == [
        (1, "new", "app"),
        (3, "new", "app"),
    ]
    assert fork.conflicts() == []


def test_another_snapshot_tells_what_a_column_added_later_held_and_keeps_what_was_changed_here(
    log: MadeLog, fork: Fork
) -> None:
    log.shape("Order", ID, column("status"))
    log.snapshot("Order", *[{"id": n, "status": "new"} for n in (1, 2, 3)])
    fork.sync()
    fork.sql("UPDATE public.\"order\" SET status = 'mine' WHERE id = 2")
    fork.sql('DELETE FROM public."order" WHERE id = 3')
    log.shape("Order", ID, column("status"), column("channel"))
    log.snapshot("Order", *[{"id": n, "status": "new", "channel": "web"} for n in (1, 2, 3)])

    fork.sync()

    rows = fork.sql('SELECT id, status, channel FROM public."order" ORDER BY 1')
    assert rows == [(1, "new", "web"), (2, "mine", "web")]
    assert (fork.conflict()["kind"], fork.conflict()["key"]) == ("update/delete", {"id": 3})


def test_an_entity_that_the_log_tells_of_later_gets_its_table_then(log: MadeLog, fork: Fork) -> None:
    fork.sync()
    log.shape("Order", ID, column("mood", "enum", "public.mood", labels=("sad",)))
    log.snapshot("Order", {"id": 1, "mood": "sad"})
    fork.sync()
    log.shape("Order", ID, column("mood", "enum", "public.mood", labels=("sad", "ok")))
    log.commit(log.update("Order", 1, {"mood": "sad"}, {"mood": "ok"}))

    fork.sync()

    assert fork.sql('SELECT id, mood::text FROM public."order"') == [(1, "ok")]


def test_a_shape_that_comes_again_says_nothing_new(log: MadeLog, fork: Fork) -> None:
    log.shape("Order", ID)
    log.snapshot("Order", {"id": 1})
    fork.sync()
    log.shape("Order", ID)

    fork.sync()

    assert fork.position == log.head.seq


def test_a_column_that_gets_another_type_stops_the_fork_until_its_owner_has_changed_it(
    log: MadeLog, fork: Fork
) -> None:
    log.shape("Order", ID, column("n", "int32"))
    log.snapshot("Order", {"id": 1, "n": 5})
    fork.sync()
    at = fork.position
    log.shape("Order", ID, column("n"))
    log.commit(log.update("Order", 1, {"n": "5"}, {"n": "five"}))
    with pytest.raises(Refused) as stopped:
        fork.sync()
    assert fork.position == at
    statement = stopped.value.hint.partition(",")[0]
    assert statement == "ALTER TABLE public.order ALTER COLUMN n TYPE text USING n::text"

    fork.sql('ALTER TABLE public."order" ALTER COLUMN n TYPE text')
    fork.sync()

    assert fork.sql('SELECT n FROM public."order"') == [("five",)]


WIDER = [
    ("int32", "integer", "int64", "bigint", 5, "5000000000", "5000000000"),
    ("int16", "smallint", "decimal", "numeric", 5, "5.25", "5.25"),
    ("decimal", "numeric(4,2)", "decimal", "numeric(6,2)", "12.34", "1234.56", "1234.56"),
    ("text", "character varying(3)", "text", "character varying(5)", "abc", "abcde", "abcde"),
    ("text", "character varying(3)", "text", "text", "abc", "abcdef", "abcdef"),
    ("float32", "real", "float64", "double precision", "0.5", "0.1", "0.1"),
]


@pytest.mark.parametrize(("kind", "engine", "new_type", "new_engine", "was", "becomes", "text"), WIDER)
def test_a_column_whose_type_becomes_wider_is_widened(
    log: MadeLog, fork: Fork, kind: str, engine: str, new_type: str, new_engine: str, was: Any, becomes: Any, text: str
) -> None:
    log.shape("Order", ID, column("n", kind, engine))
    log.snapshot("Order", {"id": 1, "n": was})
    fork.sync()
    log.shape("Order", ID, column("n", new_type, new_engine))
    log.commit(log.update("Order", 1, {"n": str(was)}, {"n": becomes}))

    fork.sync()

    assert fork.sql('SELECT n::text, pg_typeof(n)::text FROM public."order"')[0][0] == text
    assert fork.conflicts() == []


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("numeric(6,2)", "numeric(6,1)"),
        ("numeric(6,2)", "numeric(5,2)"),
        ("numeric", "numeric(5,2)"),
        ("character varying(5)", "character varying(4)"),
        ("text", "character varying(9)"),
        ("bigint", "integer"),
        ("integer", "real"),
        ("integer", "text"),
        ("integer", "numeric(3,1)"),
        ("character(3)", "character(5)"),
    ],
)
def test_a_type_that_may_change_a_value_is_no_wider_one(old: str, new: str) -> None:
    assert not widens(old, new)


@pytest.mark.parametrize(
    ("key", "table", "columns", "message"),
    [
        (["code"], "", [ID, column("code")], "another key"),
        (["id"], "", [ID, column("code", "bytes")], "from text to bytes"),
    ],
)
def test_an_entity_that_becomes_another_is_refused_by_name(
    log: MadeLog, fork: Fork, key: list[str], table: str, columns: list[Any], message: str
) -> None:
    log.shape("Order", ID, column("code"))
    fork.sync()
    log.shape("Order", *columns, key=key, table=table)

    with pytest.raises(Refused, match=message) as refused:
        fork.sync()

    assert "Order" in str(refused.value)


def test_a_table_that_upstream_renames_is_renamed_unless_the_name_is_taken(log: MadeLog, fork: Fork) -> None:
    log.shape("Order", ID, column("code"), table="public.a")
    log.snapshot("Order", {"id": 1, "code": "x"})
    fork.sync()
    fork.sql("CREATE SCHEMA mine")
    fork.sql("CREATE TABLE mine.taken (id int)")
    log.shape("Order", ID, column("code"), column("more"), table='"New one".b')
    log.snapshot("Order", {"id": 1, "code": "x", "more": "y"}, name="s2")
    fork.sync()
    assert fork.sql('SELECT * FROM "New one".b') == [(1, "x", "y")]

    log.shape("Order", ID, column("code"), column("more"), table="mine.taken")
    with pytest.raises(Refused, match="and the fork has a table of that name") as refused:
        fork.sync()
    assert refused.value.hint.startswith("ALTER TABLE mine.taken RENAME")
    with Target(fork.url) as target:
        assert drop(target) == []
    assert ("New one", "b") not in objects(fork)


def test_two_entities_of_one_table_are_refused_unless_one_is_left_out(log: MadeLog, fork: Fork) -> None:
    log.shape("Order", ID)
    log.shape("Purchase", ID, table="public.order")
    log.snapshot("Order", {"id": 1})
    with pytest.raises(Refused, match="Order and Purchase"):
        fork.sync()

    fork.sync("Order")

    assert fork.sql('SELECT id FROM public."order"') == [(1,)]


def test_a_fork_of_some_entities_passes_over_the_others(log: MadeLog, fork: Fork) -> None:
    log.shape("Order", ID)
    log.shape("User", ID)
    log.snapshot("User", {"id": 7})
    log.commit(log.insert("Order", {"id": 1}), log.insert("User", {"id": 1}), log.truncate("User"))
    fork.sync("Order")
    log.shape("Later", ID)
    log.commit(log.insert("Later", {"id": 1}))

    fork.sync()

    assert fork.position == log.head.seq
    assert fork.sql("SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'") == [
        ("order",)
    ]
    with Target(fork.url) as target, pytest.raises(UsageError, match="the fork has Order"):
        is_fork_of(target, log.reader, ["Order", "User"])


def test_an_entity_that_the_log_does_not_know_is_a_mistake(log: MadeLog, fork: Fork) -> None:
    log.shape("Order", ID)

    with pytest.raises(UsageError, match="no entity Odrer"):
        fork.sync("Odrer")


def test_a_table_with_rows_of_its_owner_is_refused_and_untouched(log: MadeLog, fork: Fork) -> None:
    log.shape("Order", ID)
    fork.sql('CREATE TABLE public."order" (id int PRIMARY KEY)')
    fork.sql('INSERT INTO public."order" VALUES (1)')

    with pytest.raises(Refused, match="rows that the fork did not make"):
        fork.sync()

    assert fork.sql('SELECT * FROM public."order"') == [(1,)]
    assert fork.sql("SELECT to_regnamespace('_commitlog')") == [(None,)]


@pytest.mark.parametrize(
    ("definition", "message"),
    [
        ("id int PRIMARY KEY", "status is missing"),
        ("id bigint PRIMARY KEY, status text", "id is bigint where integer is needed"),
        ("id int, status text", "without a unique index on id"),
        ("id int PRIMARY KEY, status text REFERENCES parent", "foreign keys"),
    ],
)
def test_an_empty_table_that_does_not_fit_is_refused_with_the_reason(
    log: MadeLog, fork: Fork, definition: str, message: str
) -> None:
    log.shape("Order", ID, column("status"))
    fork.sql("CREATE TABLE parent (status text PRIMARY KEY)")
    fork.sql(f'CREATE TABLE public."order" ({definition})')

    with pytest.raises(Refused, match=message):
        fork.sync()


def test_an_empty_table_that_fits_is_taken_and_given_back(log: MadeLog, fork: Fork) -> None:
    log.shape("Order", ID, column("status"))
    log.snapshot("Order", {"id": 1, "status": "new"})
    fork.sql('CREATE TABLE public."order" (hidden int NOT NULL DEFAULT 7, status text, id int PRIMARY KEY)')
    assert "take the empty table" in lines(fork)
    fork.sync()
    assert fork.sql('SELECT id, status, hidden FROM public."order"') == [(1, "new", 7)]

    with Target(fork.url) as target:
        drop(target)

    assert fork.sql('SELECT count(*) FROM public."order"') == [(1,)]


def test_an_enum_of_the_owners_is_used_where_it_has_every_label_and_refused_where_it_lacks_one(
    log: MadeLog, fork: Fork
) -> None:
    fork.sql("CREATE TYPE public.mood AS ENUM ('ok', 'sad', 'own')")
    log.shape("Order", ID, column("mood", "enum", "public.mood", labels=("sad", "ok")))
    log.snapshot("Order", {"id": 1, "mood": "ok"})
    fork.sync()
    assert fork.sql('SELECT mood::text FROM public."order"') == [("ok",)]
    log.shape("Order", ID, column("mood", "enum", "public.mood", labels=("sad", "ok", "new")))

    with pytest.raises(Refused, match="without the label 'new'"):
        fork.sync()

    with Target(fork.url) as target:
        drop(target)
    assert fork.sql("SELECT to_regtype('public.mood')::text") == [("mood",)]


def test_drop_takes_away_what_the_fork_made_and_nothing_else(log: MadeLog, fork: Fork) -> None:
    fork.sql("CREATE SCHEMA mine")
    fork.sql("CREATE TABLE mine.t (id int)")
    before = objects(fork)
    log.shape(
        "Order",
        column("id", "int64", identity=True),
        column("mood", "enum", "shop.mood", labels=("x",)),
        table="shop.o",
    )
    log.shape("Mine", ID, table="mine.forked")
    fork.sync()
    assert len(objects(fork)) > len(before)

    with Target(fork.url) as target:
        assert drop(target) == []

    assert objects(fork) == before


def test_drop_leaves_a_schema_that_its_owner_uses_and_a_table_that_took_the_name(log: MadeLog, fork: Fork) -> None:
    log.shape("Order", ID, table="shop.o")
    log.shape("Gone", ID, table="shop.gone")
    fork.sync()
    fork.sql("DROP TABLE shop.gone")
    fork.sql("CREATE TABLE shop.gone (other text)")

    with Target(fork.url) as target:
        left = drop(target)

    assert left == ["schema shop: it holds what the fork did not make"]
    assert fork.sql("SELECT to_regclass('shop.o'), to_regclass('shop.gone')::text, to_regnamespace('_commitlog')") == [
        (None, "shop.gone", None)
    ]


def test_drop_is_refused_while_something_of_the_owners_depends_on_it(log: MadeLog, fork: Fork) -> None:
    log.shape("Order", ID)
    fork.sync()
    fork.sql('CREATE VIEW v AS SELECT * FROM public."order"')

    with Target(fork.url) as target, pytest.raises(Refused, match="depend"):
        drop(target)

    assert fork.position == log.head.seq


def test_drop_is_refused_while_a_process_works_on_the_fork(log: MadeLog, fork: Fork) -> None:
    fork.sync()
    with Target(fork.url) as working:
        working.lock()

        with Target(fork.url) as target, pytest.raises(Locked):
            drop(target)

    assert fork.position == log.head.seq


def test_the_source_itself_is_no_place_for_a_fork(tmp_path: Path, fork: Fork) -> None:
    ((system, name),) = fork.sql("SELECT system_identifier::text, current_database()::text FROM pg_control_system()")
    own = MadeLog(tmp_path / "own", genesis={"system": system, "database": name})

    with pytest.raises(Refused, match="is the source of this log"):
        Fork(own, fork.url).sync()

    own.close()


def test_a_database_that_is_the_fork_of_another_log_is_refused(tmp_path: Path, log: MadeLog, fork: Fork) -> None:
    fork.sync()
    other = MadeLog(tmp_path / "other")

    with Target(fork.url) as target, pytest.raises(Refused, match="a fork of log made"):
        is_fork_of(target, other.reader, ())

    other.close()


def test_a_table_of_the_fork_that_is_gone_stops_it_by_name(log: MadeLog, fork: Fork) -> None:
    log.shape("Order", ID)
    fork.sync()
    fork.sql('DROP TABLE public."order"')

    with pytest.raises(Refused, match=r"the fork's table public.order is gone"):
        fork.sync()
