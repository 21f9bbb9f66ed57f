"""The worker's role needs what `setup --role` grants and no more; of what is missing, it is told the statement that gives it."""

import secrets
from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

import psycopg
import pytest
from psycopg import sql

from commitlog.cdc.servers.postgres import Server
from commitlog.cdc.source.grants import missing
from commitlog.cdc.tail.catalog import Catalog
from fixtures.worker import Source

PASSWORD = "a role's own"


@pytest.fixture
def new_role(postgres_server: Server) -> Iterator[Callable[..., str]]:
    """A function that makes a role of the server with these attributes; dropped when its databases are gone."""
    names: list[str] = []

    def make(attributes: str = "LOGIN") -> str:
        name = f"r_{secrets.token_hex(4)} of ours"
        with psycopg.connect(postgres_server.url, autocommit=True) as connection:
            query = sql.SQL("CREATE ROLE {} PASSWORD {} " + attributes)  # type: ignore[operator] # the tests' own
            connection.execute(query.format(sql.Identifier(name), sql.Literal(PASSWORD)))
        names.append(name)
        return name

    yield make
    with psycopg.connect(postgres_server.url, autocommit=True) as connection:
        for name in names:
            connection.execute(sql.SQL("DROP ROLE IF EXISTS {}").format(sql.Identifier(name)))


def url_as(url: str, role: str) -> str:
    parts = urlsplit(url)
    return parts._replace(
        netloc=f"{role.replace(' ', '%20')}:{PASSWORD.replace(' ', '%20')}@{parts.hostname}:{parts.port}"
    ).geturl()


def open_app(source: Source) -> Source:
    """Tables in a schema of their own, one with row security, in a database to which nobody may connect unasked."""
    source.execute(
        "CREATE SCHEMA app",
        "CREATE TABLE app.orders (id int PRIMARY KEY, status text)",
        "CREATE TABLE app.guarded (id int PRIMARY KEY)",
        "ALTER TABLE app.guarded ENABLE ROW LEVEL SECURITY",
        "INSERT INTO app.orders VALUES (1, 'old')",
        "INSERT INTO app.guarded VALUES (1)",
        f'REVOKE ALL ON DATABASE "{urlsplit(source.url).path[1:]}" FROM PUBLIC',
        "REVOKE ALL ON SCHEMA public FROM PUBLIC",
    )
    source.map("Order", "orders", namespace="app")
    source.map("Guarded", "guarded", namespace="app")
    return source


def lacks(source: Source, role: str) -> list[str]:
    catalog = Catalog(source.url)
    try:
        return [lack.grant for lack in missing(catalog, role, [e.table for e in source.entities.values()])]
    finally:
        catalog.close()


@pytest.mark.timeout(120)
def test_a_role_with_the_grants_of_setup_runs_and_each_that_is_missing_is_named(
    new_role: Callable[..., str], source: Source
) -> None:
    role = new_role()
    open_app(source)
    source.commitlog("setup", "--role", role)
    assert lacks(source, role) == []
    database, quoted = urlsplit(source.url).path[1:], f'"{role}"'
    source.configure(url_as(source.url, role))
    removed = [
        (f"ALTER ROLE {quoted} NOLOGIN", "may not log in", f"ALTER ROLE {quoted} LOGIN"),
        (
            f'REVOKE CONNECT ON DATABASE "{database}" FROM {quoted}',
            "may not connect",
            f'GRANT CONNECT ON DATABASE "{database}" TO {quoted}',
        ),
        (f"ALTER ROLE {quoted} NOREPLICATION", "may not replicate", f"ALTER ROLE {quoted} REPLICATION"),
        (f"REVOKE USAGE ON SCHEMA app FROM {quoted}", "schema app", f'GRANT USAGE ON SCHEMA "app" TO {quoted}'),
        # The snapshot of Guarded is the first; once it is there, nobody reads that table again.
        (f"ALTER ROLE {quoted} NOBYPASSRLS", "row-level security", f"ALTER ROLE {quoted} BYPASSRLS"),
        (
            f"REVOKE SELECT ON app.orders FROM {quoted}",
            "table orders",
            f'GRANT SELECT ON TABLE "app"."orders" TO {quoted}',
        ),
    ]
    for statement, words, grant in removed:
        source.execute(statement)

        assert source.run().refused(4, words) == grant

        assert lacks(source, role) == [grant]
        source.execute(grant)

    run = source.run()
    run.until_caught_up()
    run.terminate()
    source.check_tables(source.history())
    assert f"role {role} may do what the worker needs" in source.commitlog("doctor", code=1).stdout
    assert source.commitlog("status", "--json").returncode == 0


def test_the_sql_that_setup_prints_is_all_that_a_worker_needs_of_a_dba(
    new_role: Callable[..., str], source: Source
) -> None:
    """The worker's own role may print it, and run with what it makes."""
    open_app(source)
    role = new_role("LOGIN REPLICATION BYPASSRLS")
    for grant in lacks(source, role):
        source.execute(grant)
    source.configure(url_as(source.url, role))
    refusal = source.commitlog("setup", code=4).stderr
    assert "must be owner" in refusal
    assert "commitlog setup --sql" in refusal

    text = source.commitlog("setup", "--sql", "--role", role).stdout

    source.execute(*(statement for statement in text.split(";\n") if statement.strip()))
    assert source.commitlog("setup").stdout.startswith("nothing to do")
    run = source.run()
    run.until_caught_up()
    run.terminate()
    source.check_tables(source.history())


@pytest.mark.full
def test_what_setup_may_not_do_is_named(new_role: Callable[..., str], source: Source) -> None:
    role = new_role()
    open_app(source)
    quoted, database = f'"{role}"', urlsplit(source.url).path[1:]
    for grant in lacks(source, role):
        source.execute(grant)
    source.execute(f"ALTER ROLE {quoted} NOREPLICATION")
    source.configure(url_as(source.url, role))
    for entity in source.entities.values():
        assert "let the owner, or a superuser, do it" in source.commitlog("setup", code=4).stderr
        source.execute(f'ALTER TABLE "{entity.table[0]}"."{entity.table[1]}" OWNER TO {quoted}')

    for grant in (f'GRANT CREATE ON DATABASE "{database}" TO {quoted}', f"ALTER ROLE {quoted} REPLICATION"):
        assert f"try: {grant}; or" in source.commitlog("setup", code=4).stderr
        source.execute(grant)

    source.commitlog("setup")


def test_a_role_that_is_not_there_is_made_and_membership_of_a_managed_service_counts(
    new_role: Callable[..., str], source: Source
) -> None:
    open_app(source)
    role = new_role()
    source.execute(f'DROP ROLE "{role}"')
    for grant in lacks(source, role):
        source.execute(grant)
    assert lacks(source, role) == []

    source.execute(f'ALTER ROLE "{role}" NOREPLICATION', "CREATE ROLE rds_replication")
    try:
        assert lacks(source, role) == [f'ALTER ROLE "{role}" REPLICATION']
        source.execute(f'GRANT rds_replication TO "{role}"')
        assert lacks(source, role) == []
    finally:
        source.execute("DROP ROLE rds_replication")


@pytest.mark.full
def test_a_fork_needs_connect_and_create_and_names_what_is_missing(
    new_role: Callable[..., str], source: Source, new_database: Callable[[], str]
) -> None:
    role = new_role()
    open_app(source).setup()
    run = source.run()
    run.until_caught_up()
    run.terminate()
    target = new_database()
    name, quoted = urlsplit(target).path[1:], f'"{role}"'
    with psycopg.connect(target, autocommit=True) as connection:
        connection.execute(f'REVOKE ALL ON DATABASE "{name}" FROM PUBLIC'.encode())
        fork = ("fork", f"file:log#{source.name}", "--into", url_as(target, role), "--yes", "--once")
        for grant in (
            f'GRANT CONNECT ON DATABASE "{name}" TO {quoted}',
            f'GRANT CREATE ON DATABASE "{name}" TO {quoted}',
            f'GRANT USAGE, CREATE ON SCHEMA "public" TO {quoted}',
        ):
            assert f"try: {grant}\n" in source.commitlog(*fork, code=4).stderr
            connection.execute(grant.encode())
        source.commitlog(*fork)


def test_an_apps_role_needs_nothing_to_tag_and_that_is_said(source: Source) -> None:
    source.execute("CREATE TABLE orders (id int PRIMARY KEY)")
    source.map("Order", "orders")

    refused = source.commitlog("setup", "--sql", "--app-role", "app", code=2)

    assert "every role may tag" in refused.stderr
