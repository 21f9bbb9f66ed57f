"""What the text of a statement tells of it, without a server."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from commitlog.drivers.statement import TEXT_MAX, Kind, kind, parts

READS = """
select 1
SELECT count(*), max(a), coalesce(b, 'x') FROM t WHERE a IN (1, 2) AND b = ANY(%s)
(SELECT 1) UNION (SELECT 2)
SELECT * FROM t WHERE note = 'insert; delete'
SELECT a::numeric(10, 2), t.created AT TIME ZONE 'utc' FROM t FOR NO KEY UPDATE
SELECT pg_catalog.lower(name) FROM t FOR UPDATE SKIP LOCKED
WITH a AS MATERIALIZED (SELECT 1) SELECT * FROM t
VALUES (1), (2)
TABLE t
EXPLAIN SELECT 1
SHOW all
SET search_path TO x
VACUUM ANALYZE t
CREATE INDEX CONCURRENTLY i ON t (lower(a))
CREATE DATABASE d
ALTER SYSTEM RESET work_mem
ALTER TABLE t DETACH PARTITION p CONCURRENTLY
DECLARE c CURSOR FOR SELECT f(1)
DECLARE c CURSOR WITH HOLD FOR SELECT lower(a) FROM t
SAVEPOINT s
ROLLBACK TO SAVEPOINT s
ROLLBACK WORK TO s
COMMIT PREPARED 'x'
PREPARE q AS INSERT INTO t VALUES (1)
COPY t TO STDOUT
SELECT 1; SELECT 2;
SELECT E'a\\';b', $x$ ; insert $x$, "a;""b"
-- only a comment; insert
"""

WRITES = """
INSERT INTO t VALUES (';')
insert into t values (1);
/* a; b */   UPDATE t SET a = 1
DELETE FROM t
MERGE INTO t USING s ON true WHEN MATCHED THEN DELETE
TRUNCATE t
EXECUTE q(1)
WITH a AS (INSERT INTO t VALUES (1) RETURNING *) SELECT * FROM a
SELECT 1 INTO u
SELECT my_function(1)
SELECT * FROM audit.count(1)
SELECT "lower"(1)
SELECT nextval('s')
EXPLAIN ANALYZE DELETE FROM t
CREATE TEMPORARY TABLE u AS SELECT 1
CREATE FUNCTION f() RETURNS void LANGUAGE sql AS $$ INSERT INTO t VALUES (1); DELETE FROM t $$
CREATE FUNCTION f() RETURNS int BEGIN ATOMIC INSERT INTO t VALUES (1); SELECT CASE WHEN true THEN 1 END; END
CREATE RULE r AS ON INSERT TO t DO ALSO (INSERT INTO u VALUES (1); DELETE FROM v)
ALTER TABLE t ADD COLUMN c int
DROP INDEX i
GRANT SELECT ON t TO r
REFRESH MATERIALIZED VIEW m
DO $$ BEGIN INSERT INTO t VALUES (1) ON CONFLICT DO NOTHING; END $$
DO LANGUAGE plpgsql 'BEGIN DELETE FROM t; END'
"""


@pytest.mark.parametrize("text", READS.strip().splitlines())
def test_reads_and_what_changes_no_rows(text: str) -> None:
    assert kind(text) is Kind.READ


@pytest.mark.parametrize("text", [*WRITES.strip().splitlines(), "-- a; b\nDELETE FROM t"])
def test_writes_and_what_may_write(text: str) -> None:
    assert kind(text) is Kind.WRITE


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("BEGIN ISOLATION LEVEL SERIALIZABLE", Kind.BEGIN),
        ("start transaction", Kind.BEGIN),
        ("COMMIT", Kind.COMMIT),
        ("commit and chain;", Kind.COMMIT),
        ("END WORK", Kind.COMMIT),
        ("PREPARE TRANSACTION 'x'", Kind.PREPARE),
        ("ROLLBACK AND CHAIN", Kind.ROLLBACK),
        ("abort", Kind.ROLLBACK),
        ("COPY t FROM STDIN", Kind.COPY),
        ("COPY (DELETE FROM t RETURNING *) TO STDOUT", Kind.COPY),
        ("INSERT INTO t VALUES (1); SELECT 1", Kind.SCRIPT),
        ("SELECT 1; CALL p()", Kind.SCRIPT),
        ("INSERT INTO t VALUES (1); COMMIT", Kind.SCRIPT_COMMIT),
        ("BEGIN; SELECT 1", Kind.SCRIPT_COMMIT),
        ("DO $$ BEGIN INSERT INTO t VALUES (1); COMMIT; END $$", Kind.OPAQUE),
        ("/* do */ DO $$ BEGIN CALL p(); END $$", Kind.OPAQUE),
        ("DO 'BEGIN DELETE FROM t; ROLLBACK; END'", Kind.OPAQUE),
        ("CALL p()", Kind.OPAQUE),
        ("DECLARE c CURSOR WITH HOLD FOR SELECT f(1)", Kind.HELD),
        ("CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT 1; END; END", Kind.SCRIPT_COMMIT),
        ("SOMETHING NEW", Kind.OPAQUE),
        ("/* nested /* comments */ are not followed */ INSERT INTO t VALUES (1)", Kind.OPAQUE),
        ("", Kind.READ),
    ],
)
def test_transaction_control_copy_scripts_and_what_stays_opaque(text: str, expected: Kind) -> None:
    assert kind(text) is expected


@given(st.text(alphabet="abc;'\"$-/*()\n\\ %", max_size=200))
def test_any_text_has_a_kind(text: str) -> None:
    assert isinstance(kind(text), Kind)


@given(st.text(alphabet='ab;-/*$"\n ', max_size=50))
def test_a_literal_never_changes_the_kind(literal: str) -> None:
    assert kind(f"SELECT 1, '{literal}'") is Kind.READ
    assert kind(f"INSERT INTO t VALUES ('{literal}')") is Kind.WRITE


def test_a_long_text_is_told_without_being_remembered() -> None:
    assert kind("INSERT INTO t VALUES ('" + "x;" * TEXT_MAX + "')") is Kind.WRITE
    assert kind("SELECT '" + "x;" * TEXT_MAX + "'") is Kind.READ


def starts(text: str) -> list[str] | None:
    found = parts(text)
    return None if found is None else [text[part.start :][:6] for part in found]


def test_the_parts_of_a_script_start_where_they_stand() -> None:
    script = """BEGIN; -- ;
        INSERT INTO t VALUES (';', $a$;$a$, E'\\';', "q;"); /* ; */ ;
        CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT 1; SELECT CASE 1 WHEN 2 THEN 3 END; END;
        SELECT CASE 1 WHEN 2 THEN 3 END; CREATE RULE r AS ON INSERT TO t DO ALSO (DELETE FROM t; DELETE FROM u);
        ROLLBACK TO s; COMMIT AND CHAIN; COMMIT AND NO CHAIN"""
    assert starts(script) == "BEGIN;|INSERT|CREATE|SELECT|CREATE|ROLLBA|COMMIT|COMMIT".split("|")
    found = parts(script)
    assert found is not None
    assert [part.kind for part in found][-3:] == [Kind.READ, Kind.COMMIT, Kind.COMMIT]
    assert [part.chains for part in found][-3:] == [False, True, False]
    assert [part.to_savepoint for part in found][-3:] == [True, False, False]


@pytest.mark.parametrize(
    "text",
    [
        "SELECT 'a; COMMIT",
        'SELECT "a; COMMIT',
        "SELECT $$a; COMMIT",
        "/* a /* b */ ; */ COMMIT",
        "\u0130; COMMIT",
        "/* COMMIT",
    ],
)
def test_where_the_parts_are_not_certain_there_are_none(text: str) -> None:
    assert parts(text) is None


@given(st.lists(st.sampled_from(["BEGIN", "SELECT ';'", "COMMIT", "INSERT INTO t VALUES ($$;$$)", " -- ;\n ROLLBACK"])))
def test_parts_and_kinds_of_any_script_agree(statements: list[str]) -> None:
    found = parts(";".join(statements))
    assert found is not None
    assert [part.kind for part in found] == [kind(statement) for statement in statements]
