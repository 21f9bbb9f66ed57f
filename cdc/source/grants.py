"""What the worker's role must be allowed on a source, no more, and the statement that allows what is missing.

It is: to log in, to connect, to replicate, to read the mapped tables for their snapshots, and a few functions that everybody may call
unless somebody took that away. What `setup` changes needs more (owning the tables, CREATE on the database); the worker does not.
"""

from collections.abc import Iterable, Iterator

from ..tail.catalog import Catalog, sql_name
from .step import Missing as Missing

_FUNCTIONS = ("pg_control_system", "pg_control_checkpoint", "pg_walfile_name", "pg_logical_emit_message")
_MANAGED = ("rds_replication",)
"""Roles of managed services whose members may replicate, without the attribute."""


def missing(catalog: Catalog, role: str, tables: Iterable[tuple[str, str]]) -> Iterator[Missing]:
    """What a role lacks to be the worker's.

    Args:
        catalog: The source's catalogs.
        role: The role, which need not be there yet.
        tables: The mapped tables, each as (schema, name).

    Raises:
        Unreachable: The source does not answer.
    """
    quoted = sql_name(role)
    found = catalog.rows(
        "SELECT rolcanlogin, rolreplication, rolsuper, rolbypassrls FROM pg_roles WHERE rolname = %s", (role,)
    )
    if not found:
        yield Missing("is not there yet; its password is yours to set", f"CREATE ROLE {quoted} LOGIN REPLICATION")
    else:
        login, replication, superuser, _ = found[0]
        if not login:
            yield Missing("may not log in", f"ALTER ROLE {quoted} LOGIN")
        if not (replication or superuser or _managed(catalog, role)):
            yield Missing("may not replicate", f"ALTER ROLE {quoted} REPLICATION")
        if superuser:
            return
    known = role if found else "public"
    yield from _database(catalog, known, quoted)
    yield from _functions(catalog, known, quoted)
    wanted = sorted(set(tables))
    yield from _schemas(catalog, known, quoted, wanted)
    yield from _tables(catalog, known, quoted, wanted)
    if not (found and found[0][3]):
        yield from _row_security(catalog, known, quoted, wanted)


def _managed(catalog: Catalog, role: str) -> bool:
    rows = catalog.rows(
        "SELECT 1 FROM pg_roles WHERE rolname = ANY(%s) AND pg_has_role(%s, oid, 'member')", (list(_MANAGED), role)
    )
    return bool(rows)


def _database(catalog: Catalog, role: str, quoted: str) -> Iterator[Missing]:
    ((name, may),) = catalog.rows(
        "SELECT current_database()::text, has_database_privilege(%s, current_database(), 'CONNECT')", (role,)
    )
    if not may:
        yield Missing(f"may not connect to database {name}", f"GRANT CONNECT ON DATABASE {sql_name(name)} TO {quoted}")


def _functions(catalog: Catalog, role: str, quoted: str) -> Iterator[Missing]:
    rows = catalog.rows(
        "SELECT oid::regprocedure::text FROM pg_proc WHERE pronamespace = 'pg_catalog'::regnamespace AND proname = ANY(%s)"
        " AND NOT has_function_privilege(%s, oid, 'EXECUTE') ORDER BY 1",
        (list(_FUNCTIONS), role),
    )
    for (function,) in rows:
        yield Missing(f"may not call {function}", f"GRANT EXECUTE ON FUNCTION {function} TO {quoted}")


def _schemas(catalog: Catalog, role: str, quoted: str, tables: list[tuple[str, str]]) -> Iterator[Missing]:
    rows = catalog.rows(
        "SELECT nspname::text FROM pg_namespace WHERE nspname = ANY(%s) AND NOT has_schema_privilege(%s, oid, 'USAGE')"
        " ORDER BY 1",
        (sorted({namespace for namespace, _ in tables}), role),
    )
    for (name,) in rows:
        yield Missing(f"may not use schema {name}", f"GRANT USAGE ON SCHEMA {sql_name(name)} TO {quoted}")


def _tables(catalog: Catalog, role: str, quoted: str, tables: list[tuple[str, str]]) -> Iterator[Missing]:
    for table in tables:
        rows = catalog.rows(
            "SELECT 1 FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = %s AND c.relname = %s"
            " AND NOT has_table_privilege(%s, c.oid, 'SELECT')",
            (*table, role),
        )
        if rows:
            yield Missing(
                f"may not read table {'.'.join(table)}", f"GRANT SELECT ON TABLE {sql_name(*table)} TO {quoted}"
            )


def _row_security(catalog: Catalog, role: str, quoted: str, tables: list[tuple[str, str]]) -> Iterator[Missing]:
    rows = catalog.rows(
        "SELECT n.nspname::text, c.relname::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
        " WHERE c.relrowsecurity AND (c.relforcerowsecurity OR CASE %s WHEN 'public' THEN true"
        " ELSE NOT pg_has_role(%s, c.relowner, 'USAGE') END) ORDER BY 1, 2",
        (role, role),
    )
    guarded = [".".join(row) for row in rows if tuple(row) in tables]
    if guarded:
        yield Missing(f"sees not all rows of {', '.join(guarded)}", f"ALTER ROLE {quoted} BYPASSRLS")
