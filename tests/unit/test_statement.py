"""What the text of a statement tells of it, without a server."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from commitlog.drivers.statement import TEXT_MAX, Kind, kind

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
CREATE FUNCTION f() RETURNS void LANGUAGE sql AS $$ INSERT INTO t VALUES (1); DELETE FROM t $$
ALTER TABLE t ADD COLUMN c int
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
        ("CALL p()", Kind.OPAQUE),
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
