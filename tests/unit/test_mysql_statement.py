"""What a statement of MySQL may do to a transaction, told from its text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from commitlog.drivers.mysql_statement import Kind, kind, plain_kind, split

CASES = {
    Kind.READ: """
        SELECT 1
        select count(*), max(a) from t where a in (1, 2) and b = 'for update'
        (SELECT 1) UNION (SELECT 2)
        WITH c AS (SELECT 1) SELECT * FROM c
        SHOW TABLES
        SET @a = 1
        SET SESSION sql_mode = 'autocommit'
        SET TRANSACTION ISOLATION LEVEL SERIALIZABLE
        USE shop
        SAVEPOINT a
        ROLLBACK TO a
        ROLLBACK WORK TO SAVEPOINT a
        RELEASE SAVEPOINT a
        CREATE TEMPORARY TABLE t (a INT)
        DROP TEMPORARY TABLE t
        XA PREPARE 'a'
        XA COMMIT 'a'
        EXPLAIN SELECT 1
        DO SLEEP(0)
        PREPARE s FROM 'COMMIT'
        /* only a comment */
        SELECT `f (`, "g(" FROM t
    """,
    Kind.LOCK: """
        SELECT * FROM t FOR UPDATE
        SELECT * FROM t WHERE a = 1 FOR UPDATE SKIP LOCKED
        SELECT * FROM t LOCK IN SHARE MODE
        select * from t for share
    """,
    Kind.WRITE: """
        INSERT INTO t VALUES (1)
        /* a */ -- b
        insert t set a = 1
        REPLACE INTO t VALUES (1)
        # comment
        WITH c AS (SELECT 1) DELETE FROM t
        /*!50000 UPDATE */ t SET a = 1
        /*M!100000 DELETE */ FROM t
        SELECT f(1)
        SELECT shop.f(1)
        SELECT `f`(1)
        SET @a = f(1)
        DO f(1)
        LOAD DATA LOCAL INFILE 'x' INTO TABLE t
        LOAD XML INFILE 'x' INTO TABLE t
        ANALYZE FORMAT=JSON UPDATE t SET a = 1
    """,
    Kind.BEGIN: """
        BEGIN
        begin work
        START TRANSACTION
        START TRANSACTION READ ONLY
        XA START 'a'
        XA BEGIN 'a'
    """,
    Kind.COMMIT: """
        COMMIT
        commit;
        COMMIT AND CHAIN
        /* a */ COMMIT /* b */ WORK
    """,
    Kind.ROLLBACK: """
        ROLLBACK
        rollback work
        ROLLBACK AND CHAIN
        ROLLBACK /* to a */
    """,
    Kind.XA_END: """
        XA END 'a'
        xa end 'a', 'b'
    """,
    Kind.CALL: """
        CALL p()
        EXECUTE s
        EXECUTE IMMEDIATE 'COMMIT'
        BEGIN NOT ATOMIC COMMIT
        IF 1 THEN COMMIT
    """,
    Kind.FILL: """
        CREATE TABLE t AS SELECT 1
        CREATE OR REPLACE TABLE t SELECT 1
        create table if not exists t (a int) select 1
    """,
    Kind.ENDS: """
        CREATE TABLE t (a INT)
        CREATE TABLE t LIKE u
        CREATE OR REPLACE VIEW v AS SELECT 1
        ALTER TABLE t ADD b INT
        DROP TABLE t
        TRUNCATE t
        RENAME TABLE t TO u
        GRANT SELECT ON t TO u
        SET autocommit = 1
        SET @@session.autocommit = ON
        SET PASSWORD = 'x'
        LOCK TABLES t WRITE
        ANALYZE TABLE t
        OPTIMIZE TABLE t
        FLUSH TABLES
        START REPLICA
        LOAD INDEX INTO CACHE t
        FROBNICATE t
    """,
    Kind.UNLOCK: """
        UNLOCK TABLES
        unlock /* all */ table
    """,
}


@pytest.mark.parametrize(
    ("expected", "text"),
    [(expected, line.strip()) for expected, lines in CASES.items() for line in lines.strip().splitlines()],
)
def test_the_kind_of_a_statement(expected: Kind, text: str) -> None:
    if text.startswith(("#", "/* a */ --")):
        text += "\nINSERT INTO t VALUES (1)"
    assert kind(text) is expected
    assert kind(text.encode()) is expected
    assert kind(bytearray(f"\n\t {text} ".encode())) is expected


PARTS = """select SELECT insert UPDATE delete update for FOR share lock LOCK in share mode from t where a = 1 f( f (1) ( ) ; ';'
    `for` -- /* */ commit SELECT 1; into outfile with set call""".split()


@given(st.lists(st.sampled_from(PARTS), max_size=8).map(" ".join), st.booleans())
def test_the_short_way_says_what_the_long_one_does(text: str, several: bool) -> None:
    assert plain_kind(text.encode()) in (None, kind(text, several=several))


@pytest.mark.parametrize(
    ("text", "statements"),
    [
        ("a; b", ["a", "b"]),
        ("a;", ["a"]),
        (";;a ; /* ; */ ; b -- ;", ["a", "b -- ;"]),
        ("a ';' \"; \" `;`; b", ["a ';' \"; \" `;`", "b"]),
        (r"a '\';'; b", [r"a '\';'", "b"]),
        ("a '';'' ; b", ["a ''", "''", "b"]),
        ("a ' ; b", None),
        ("a /*! ; */; b", None),
        ("CREATE PROCEDURE p() BEGIN SELECT 1; END", None),
        ("a; CREATE DEFINER=u@h TRIGGER x BEFORE INSERT ON t FOR EACH ROW BEGIN SET @a = 1; END", None),
        ("BEGIN NOT ATOMIC SELECT 1; END", None),
    ],
)
def test_statements_are_told_apart_or_not_at_all(text: str, statements: list[str] | None) -> None:
    found = split(text)
    assert (found and [statement.strip() for statement in found]) == statements


def test_several_statements_are_so_only_where_the_connection_allows_them() -> None:
    assert kind("INSERT INTO t VALUES (1); COMMIT", several=True) is Kind.SCRIPT
    assert kind("INSERT INTO t VALUES (1); COMMIT") is Kind.WRITE
    assert kind("COMMIT;", several=True) is Kind.COMMIT


@given(st.text(alphabet="abc '\"`;\\/*-#\n!()1\u00e9", max_size=60))
def test_no_text_is_too_odd(text: str) -> None:
    assert kind(text) is kind(text.encode("utf-8"))
    kind(text, several=True)
    statements = split(text)
    if statements is not None:
        assert sum(map(len, statements)) <= len(text)
