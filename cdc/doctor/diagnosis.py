"""What `doctor` finds: every setting that the guarantees need, each with what to do about it. It changes nothing."""

from collections.abc import Iterator

from ...schemas.errors import ACCEPT_GAP, SchemaError
from ...transforms.registry import Registry
from ...transforms.table_name import TableName, quoted
from ..config import Config
from ..source import ddl_notices
from ..source.check import FIND_PRIMARY, lost_because, mapped
from ..source.grants import missing
from ..source.table_watch import missing_tables
from ..tail.address import safety
from ..tail.catalog import GENERATED_PUBLISHED_FROM, SYNCHRONISED_FROM, Catalog, Slot, Table
from ..tail.incarnation import holders, logged_by
from ..tail.unique_key import check_key
from .finding import Finding
from .home import diagnose_log
from .mapping import unmapped

SAFE_VERSIONS = {14: 140024, 15: 150019, 16: 160015, 17: 170011, 18: 180006}
"""Major version to the first minor with the fixes of August 2026 (CVE-2026-6471 lets a REPLICATION role load libraries)."""


def diagnose(config: Config, catalog: Catalog, registry: Registry) -> Iterator[Finding]:
    """Look at everything.

    Raises:
        Unreachable: The source does not answer.
    """
    identity = catalog.identity()
    yield Finding("ok", f"source {config.source.shown} answers: system {identity.system}, timeline {identity.timeline}")
    if identity.standby:
        yield Finding("error", "the source is a standby, which takes no writes and cannot be tailed", FIND_PRIMARY)
    unsafe = safety(config.source.url, encrypted=catalog.connection.pgconn.ssl_in_use)
    if unsafe:
        yield Finding(
            "warning",
            f"the way to the source is open: {unsafe}",
            "sslmode=verify-full and sslrootcert=FILE in [source] url",
        )
    yield from _version(identity.version)
    yield from _settings(catalog)
    yield from _standbys(catalog)
    yield from _role(catalog, registry)
    yield from _tables(config, catalog, registry)
    yield from _publication(config, catalog, registry)
    yield from _event_triggers(config, catalog)
    yield from _slot(config, catalog.slot(config.source.slot), catalog)
    yield from diagnose_log(config)


def _version(version: int) -> Iterator[Finding]:
    major = version // 10000
    if major < 14:
        yield Finding("error", f"PostgreSQL {major} cannot log tags; 14 is the first that can", "upgrade the server")
    elif version < SAFE_VERSIONS.get(major, 0):
        safe = SAFE_VERSIONS[major] % 10000
        yield Finding(
            "warning",
            f"PostgreSQL {major}.{version % 10000} lacks security fixes of logical replication",
            f"upgrade to {major}.{safe} or later",
        )
    else:
        yield Finding("ok", f"PostgreSQL {major}.{version % 10000}")


def _settings(catalog: Catalog) -> Iterator[Finding]:
    level = catalog.setting("wal_level")
    if level != "logical":
        yield Finding("error", f"wal_level is {level}", "ALTER SYSTEM SET wal_level = logical, then restart the server")
    else:
        yield Finding("ok", "wal_level is logical")
    for name, what in (
        ("fsync", "a crash of the machine may lose and corrupt commits"),
        ("full_page_writes", "a crash may tear pages"),
    ):
        if catalog.setting(name) == "off":
            yield Finding("warning", f"{name} is off: {what}", f"ALTER SYSTEM SET {name} = on")
    if catalog.setting("synchronous_commit") == "off":
        yield Finding(
            "warning",
            "synchronous_commit is off by default: a crash of the server may take back commits it has confirmed",
            "ALTER SYSTEM SET synchronous_commit = on",
        )
    if catalog.setting("max_slot_wal_keep_size") == "-1":
        yield Finding(
            "warning",
            "max_slot_wal_keep_size is unlimited: while no worker runs, WAL grows until the disk is full",
            "ALTER SYSTEM SET max_slot_wal_keep_size = '…' to lose history instead; watch commitlog status either way",
        )


def _standbys(catalog: Catalog) -> Iterator[Finding]:
    """A commit is shown to logical decoding before a standby has it, even before it is confirmed to who made it."""
    waited_for = catalog.setting("synchronized_standby_slots")
    rows = catalog.rows(
        "SELECT slot_name::text FROM pg_replication_slots WHERE slot_type = 'physical' AND NOT temporary"
        " AND restart_lsn IS NOT NULL ORDER BY 1"
    )
    standbys = [row[0] for row in rows if row[0] not in waited_for]
    if not standbys and (waited_for or not catalog.setting("synchronous_standby_names")):
        return
    named = f"standbys that follow by slot {', '.join(standbys)}" if standbys else "synchronous standbys"
    yield Finding(
        "warning",
        f"{named} are not waited for: the log may hold a commit that they lack, and a failover to one then stops the worker",
        f"ALTER SYSTEM SET synchronized_standby_slots = '{', '.join(standbys) or 'their slots'}'"
        if catalog.connection.info.server_version >= SYNCHRONISED_FROM
        else "PostgreSQL 17 has synchronized_standby_slots",
    )


def _role(catalog: Catalog, registry: Registry) -> Iterator[Finding]:
    ((name, superuser),) = catalog.rows("SELECT rolname::text, rolsuper FROM pg_roles WHERE rolname = current_user")
    lacks = list(missing(catalog, name, mapped(registry)))
    for lack in lacks:
        yield Finding("error", f"role {name} {lack.what}", lack.grant)
    if superuser:
        yield Finding(
            "warning",
            f"the worker's role {name} is a superuser",
            "commitlog setup --role commitlog: a role that may do what the worker needs, and no more",
        )
    elif not lacks:
        yield Finding("ok", f"role {name} may do what the worker needs")


def _tables(config: Config, catalog: Catalog, registry: Registry) -> Iterator[Finding]:
    known, tables = mapped(registry), catalog.tables()
    yield from unmapped(config, registry, tables)
    for table in tables:
        if (table.namespace, table.name) in known:
            yield from _table(table, catalog)
            yield from _entities(table, catalog, config, registry)
    for text in missing_tables(config.tables_path, catalog, registry):
        yield Finding("warning", text, "correct from: in the app schema, then commitlog setup")


def _entities(table: Table, catalog: Catalog, config: Config, registry: Registry) -> Iterator[Finding]:
    present = {column.name for column in table.columns}
    stored_sent = catalog.connection.info.server_version >= GENERATED_PUBLISHED_FROM
    computed = {
        column.name for column in table.columns if column.generated and not (stored_sent and not column.virtual)
    }
    for entity in {e.name: e for s in registry.schemas for e in s.entities.values()}.values():
        missing = [field for field in entity.published(config.log.visibility) if field not in present]
        if entity.table == (table.namespace, table.name) and missing:
            yield Finding(
                "warning",
                f"table {table.quoted} has no column {', '.join(missing)} of {entity.name}",
                "commitlog schema check",
            )
        unsent = [field for field in entity.published(config.log.visibility) if field in computed]
        if entity.table == (table.namespace, table.name) and unsent:
            yield Finding(
                "warning",
                f"table {table.quoted} is sent without its generated column {', '.join(unsent)} of {entity.name}",
                "make it STORED, on PostgreSQL 18 or later; or a plain column that a trigger fills",
            )
        if entity.table == (table.namespace, table.name):
            try:
                check_key(catalog, entity)
            except SchemaError as exc:
                yield Finding("error", str(exc), exc.hint)


def _table(table: Table, catalog: Catalog) -> Iterator[Finding]:
    if table.virtual:
        yield Finding(
            "warning",
            f"table {table.quoted} has a virtual generated column, so the server refuses to log whole old rows of it",
            "make the column STORED, then commitlog setup",
        )
    weak = [holder for holder in holders(catalog, [(table.namespace, table.name)]) if holder.old_rows != "full"]
    for holder in weak:
        if holder.old_rows == "unlogged":
            yield Finding(
                "error", f"table {holder.quoted} is UNLOGGED: the server logs nothing of it", logged_by(holder)
            )
        elif holder.old_rows == "none":
            yield Finding(
                "error",
                f"table {holder.quoted} has no replica identity: once published, the server refuses UPDATE and DELETE of it",
                "commitlog setup",
            )
        elif holder.old_rows == "refused":
            yield Finding(
                "error",
                f"table {holder.quoted} is to log whole old rows and has a virtual generated column: once published, the server refuses"
                " UPDATE and DELETE of it",
                "commitlog setup",
            )
        elif not table.virtual:
            yield Finding(
                "warning",
                f"table {holder.quoted} does not log whole old rows: blame, conflicts and merging lack what was there before",
                "commitlog setup",
            )
    if not weak:
        yield Finding("ok", f"table {table.quoted} logs whole old rows")


def _event_triggers(config: Config, catalog: Catalog) -> Iterator[Finding]:
    standing = ddl_notices.standing(catalog, config.source)
    if standing == "ready":
        yield Finding("ok", "event triggers tell the stream of tables and publications that are altered")
    elif standing == "outdated":
        yield Finding(
            "warning",
            "the event triggers are not as this version makes them: another one made them, or somebody altered them, and they may tell less",
            "commitlog setup, as a superuser",
        )
    else:
        yield Finding(
            "warning",
            "no event triggers: publications and tables are looked at every few seconds, and two things that end in between are not seen:"
            " a table that was UNLOGGED, a publication that left out a kind of change",
            "commitlog setup, as a superuser",
        )


def _publication(config: Config, catalog: Catalog, registry: Registry) -> Iterator[Finding]:
    name = config.source.publication
    published = catalog.published(name)
    if published is None:
        yield Finding("error", f"there is no publication {name}", "commitlog setup")
        return
    missing = [table for table in sorted(mapped(registry) - published) if catalog.table(*table)]
    for namespace, table in missing:
        yield Finding(
            "error", f"{namespace}.{table} is not in publication {name}", _way_into(catalog, (namespace, table))
        )
    left_out = catalog.left_out(name)
    if left_out:
        yield Finding(
            "error", f"publication {name} leaves out {left_out}", "drop the publication, then commitlog setup"
        )
    if not missing and not left_out:
        yield Finding("ok", f"publication {name} has every mapped table")


def _way_into(catalog: Catalog, table: TableName) -> str:
    """What puts a table into the publication."""
    unlogged = catalog.rows(
        "SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
        " WHERE n.nspname = %s AND c.relname = %s AND c.relpersistence = 'u'",
        table,
    )
    return f"ALTER TABLE {quoted(table)} SET LOGGED, then commitlog setup" if unlogged else "commitlog setup"


def _slot(config: Config, slot: Slot | None, catalog: Catalog) -> Iterator[Finding]:
    if slot is None:
        yield Finding("error", f"there is no slot {config.source.slot}", "commitlog setup")
        return
    if slot.wal_status == "lost":
        yield Finding("error", f"slot {slot.name} is lost: {lost_because(slot)}", ACCEPT_GAP)
        return
    reader = f", read by process {slot.active_pid}" if slot.active_pid else ""
    yield Finding("ok", f"slot {slot.name} retains {slot.retained_bytes:,} bytes of WAL{reader}")
    if catalog.connection.info.server_version < SYNCHRONISED_FROM:
        return
    if slot.failover:
        yield Finding("ok", f"slot {slot.name} may go over to a standby in a planned failover")
    else:
        yield Finding(
            "warning",
            f"slot {slot.name} is kept by no standby: after a failover history is missing",
            "stop the worker, then commitlog setup",
        )
