"""What `setup` creates on a source and `teardown` drops: replica identities, the publication, the slot. In that order, because
a published table without a replica identity makes the app's own UPDATE fail.
"""

import time
from collections.abc import Callable, Iterator
from typing import Any

import psycopg

from ...schemas.errors import Locked, Refused, UsageError
from ...transforms.registry import Registry
from ...transforms.table_name import quoted
from ..config import Config, SourceConfig
from ..tail.catalog import GENERATED_PUBLISHED_FROM, SYNCHRONISED_FROM, Catalog, Table, sql_name
from ..tail.connection import STATEMENT_TIMEOUT_MS, grant, one_line
from ..tail.incarnation import holders, logged_by
from ..tail.postgres import connect
from ..tail.unique_key import check_key
from . import ddl_notices
from .check import check_primary, mapped
from .grants import missing
from .provision import Provision
from .step import PRINT, Step
from .table_watch import missing_tables

LOCK_TIMEOUT_MS, LOCK_PAUSE_S, LOCK_TURNS = 1000, 0.5, 4

SLOT_FREE_S, SLOT_PAUSE_S = 10.0, 0.1
"""How long a slot may look in use after its worker's end, until the server has noticed, and how often to try."""

_WRITING = """
SELECT 'prepared transaction ' || quote_literal(gid) || ' since ' || date_trunc('second', prepared) FROM pg_prepared_xacts
UNION ALL SELECT 'process ' || pid || ' since ' || date_trunc('second', xact_start) FROM pg_stat_activity
    WHERE pid <> pg_backend_pid() AND backend_xid IS NOT NULL AND xact_start < now() - interval '1 second'
LIMIT 5
"""
_OTHER_SLOTS = """
SELECT slot_name::text FROM pg_replication_slots
WHERE database = current_database() AND plugin = 'pgoutput' AND slot_name <> %s AND NOT temporary ORDER BY 1
"""
_RUNNING = """
SELECT 'prepared transaction ' || quote_literal(gid) || ' since ' || date_trunc('second', prepared) FROM pg_prepared_xacts
UNION ALL SELECT 'process ' || pid || ' since ' || date_trunc('second', xact_start) FROM pg_stat_activity
    WHERE backend_type = 'client backend' AND pid <> pg_backend_pid() AND xact_start IS NOT NULL
LIMIT 5
"""


def mapped_tables(catalog: Catalog, registry: Registry) -> list[Table]:
    """The existing tables that the app schemas map.

    Raises:
        Refused: A key is not one that the source itself keeps, or none of the tables exists.
    """
    found = [table for name in sorted(mapped(registry)) if (table := catalog.table(*name)) is not None]
    for entity in {(e.table, e.key): e for schema in registry.schemas for e in schema.entities.values()}.values():
        if any(entity.table == (table.namespace, table.name) for table in found):
            check_key(catalog, entity)
    if not found:
        raise Refused(
            "no app schema maps a table of this database: nothing would be recorded",
            hint="commitlog schema draft > schemas/app.yaml, then read and correct it",
        )
    return found


class PostgresProvision(Provision[Catalog]):
    """A publication, a slot, replica identities, event triggers."""

    leftover = "the tables keep REPLICA IDENTITY FULL; set it back with ALTER TABLE … REPLICA IDENTITY DEFAULT"
    nothing = "neither slot nor publication is there"

    def __init__(self, config: Config) -> None:
        super().__init__(config, Catalog(config.source.conninfo()))

    def setup_steps(self, registry: Registry) -> list[Step]:
        """What is missing on the source, in the order it must be done; empty when all is there.

        Raises:
            Refused: The server is not set up for logical replication at all.
            Unreachable: It is a standby.
        """
        catalog, source = self.catalog, self.config.source
        if catalog.setting("wal_level") != "logical":
            raise Refused(
                f"the source runs with wal_level={catalog.setting('wal_level')}",
                hint="ALTER SYSTEM SET wal_level = logical, then restart the server",
            )
        check_primary(catalog.identity())
        left_out = catalog.left_out(source.publication)
        if left_out:
            raise Refused(
                f"publication {source.publication!r} leaves out {left_out}",
                hint="drop the publication, then commitlog setup",
            )
        tables = mapped_tables(catalog, registry)
        return [
            *_generated(catalog, source),
            *_identities(catalog, tables),
            *_publication(catalog, source, tables),
            *_event_triggers(catalog, source),
            *_slot(catalog, source),
        ]

    def grant_steps(self, registry: Registry, role: str) -> list[Step]:
        """What a role lacks to be the worker's: no more is granted than it needs."""
        return [
            Step(f"role {role}: {lack.grant}", lack.grant) for lack in missing(self.catalog, role, mapped(registry))
        ]

    def app_steps(self, user: str) -> list[Step]:
        """As the base says."""
        raise UsageError(f"role {user!r} needs nothing: on PostgreSQL every role may tag", hint="leave out --app-role")

    def teardown_steps(self, *, publication: bool = True) -> list[Step]:
        """What `setup` made and is still there. Replica identities stay: what they were before is not known."""
        catalog, source, steps = self.catalog, self.config.source, list[Step]()
        if catalog.slot(source.slot) is not None:
            literal = source.slot.replace("'", "''")
            steps.append(Step(f"slot {source.slot}", f"SELECT pg_drop_replication_slot('{literal}')"))
        shared = [row[0] for row in catalog.rows(_OTHER_SLOTS, (source.slot,))] if publication else []
        if shared:
            # Whoever reads by another slot may read the same publication: without it that one's history would be lost.
            self.leftover += (
                f"; publication {source.publication} and its event triggers, which {', '.join(shared)} may need, stay"
            )
            return steps
        if publication and catalog.published(source.publication) is not None:
            steps.append(Step(f"publication {source.publication}", f"DROP PUBLICATION {sql_name(source.publication)}"))
        statements = list(ddl_notices.drop(catalog, source)) if publication else []
        if statements:
            steps.append(Step("the event triggers", ";\n".join(statements)))
        return steps

    def execute(self, step: Step, *, say: Callable[[str], None] = lambda _: None) -> None:
        """Do one step. A table's lock is waited for in short turns: whoever comes after waits behind it, the app too. A slot is waited for
        a moment, for the server to notice its worker's end.

        Args:
            step: What to do.
            say: Told what is waited for.

        Raises:
            Locked: The slot is in use, or other transactions are in the way.
            Refused: The server does not allow it.
        """
        try:
            if step.waits and (writing := ", ".join(row[0] for row in self.catalog.rows(_WRITING))):
                say(f"{step.text}: waiting up to {STATEMENT_TIMEOUT_MS // 1000} s for transactions to end: {writing}")
            if step.replication:
                with connect(self.catalog.url) as connection:
                    connection.execute(step.statement.encode())
            else:
                _in_turns(self.catalog.connection, step, say)
        except psycopg.errors.ObjectInUse as exc:
            raise Locked(f"{step.text}: {one_line(exc)}", hint="stop the worker first") from exc
        except (psycopg.errors.LockNotAvailable, psycopg.errors.QueryCanceled) as exc:
            running = ", ".join(row[0] for row in self.catalog.rows(_RUNNING)) or "none any more"
            raise Locked(
                f"{step.text}: other transactions did not end in time; there are: {running}",
                hint="end them, or wait until they end, then do this again",
            ) from exc
        except psycopg.Error as exc:
            way = grant(exc, self.catalog.connection.info.user)
            raise Refused(f"{step.text}: {one_line(exc)}", hint=f"{way}; or let a DBA run what {PRINT} prints") from exc

    def note_begin(self) -> None:
        """Nothing: the slot does."""

    def missing_tables(self, registry: Registry) -> Iterator[str]:
        """As the base says, with what a worker remembers of them."""
        return missing_tables(self.config.tables_path, self.catalog, registry)


def _generated(catalog: Catalog, source: SourceConfig) -> Iterator[Step]:
    """Before any identity: a published table that logs whole old rows without its generated columns refuses UPDATE."""
    able = catalog.connection.info.server_version >= GENERATED_PUBLISHED_FROM
    if (
        able
        and catalog.published(source.publication) is not None
        and not catalog.publishes_generated(source.publication)
    ):
        yield Step(
            f"publication {source.publication}: send stored generated columns",
            f"ALTER PUBLICATION {sql_name(source.publication)} SET (publish_generated_columns = stored)",
        )


def _identities(catalog: Catalog, tables: list[Table]) -> Iterator[Step]:
    """Of partitioned tables, too: their partitions decide what is logged, and they what it is taken for."""
    for table in tables:
        if table.virtual and not table.key:
            raise Refused(
                f"{table.quoted} has a virtual generated column and no primary key: published, it would refuse UPDATE",
                hint="give it a primary key, or take it out of the app schemas",
            )
    for holder in holders(catalog, {(table.namespace, table.name) for table in tables if table.virtual}):
        if holder.old_rows == "refused":
            yield Step(
                f"{quoted(holder.table)}: log old keys only, for beside its virtual generated column the server refuses UPDATE and DELETE",
                f"ALTER TABLE {sql_name(*holder.table)} REPLICA IDENTITY DEFAULT",
            )
    able = {(table.namespace, table.name) for table in tables if not table.virtual}
    roots = [(table.namespace, table.name) for table in tables if table.partitioned and table.identity != "f"]
    found = holders(catalog, able)
    for holder in found:
        if holder.old_rows == "unlogged":
            raise Refused(f"{holder.quoted} is UNLOGGED: the server logs nothing of it", hint=logged_by(holder))
    weak = [holder.table for holder in found if holder.old_rows != "full"]
    for name in [*(root for root in roots if root in able), *weak]:
        yield Step(
            f"{quoted(name)}: log whole old rows, for blame, conflicts and merging",
            f"ALTER TABLE {sql_name(*name)} REPLICA IDENTITY FULL",
        )


def _publication(catalog: Catalog, source: SourceConfig, tables: list[Table]) -> Iterator[Step]:
    name = sql_name(source.publication)
    published = catalog.published(source.publication)
    if published is None:
        listed = ", ".join(table.only for table in tables)
        options = "publish_via_partition_root = true"
        if catalog.connection.info.server_version >= GENERATED_PUBLISHED_FROM:
            options += ", publish_generated_columns = stored"
        yield Step(
            f"publication {source.publication}: {len(tables)} tables",
            f"CREATE PUBLICATION {name} FOR TABLE {listed} WITH ({options})",
        )
        return
    for table in tables:
        if (table.namespace, table.name) not in published:
            yield Step(
                f"publication {source.publication}: add {table.quoted}",
                f"ALTER PUBLICATION {name} ADD TABLE {table.only}",
            )


def _event_triggers(catalog: Catalog, source: SourceConfig) -> Iterator[Step]:
    """Where this role may make them; what is unguarded without them is doctor's to say."""
    standing = ddl_notices.standing(catalog, source)
    if standing != "ready" and ddl_notices.may_make(catalog):
        text = "the stream tells of tables and publications that are altered"
        if standing == "outdated":
            text = "brought up to date"
        yield Step(f"event triggers: {text}", ";\n".join(ddl_notices.make(catalog, source)))


def _slot(catalog: Catalog, source: SourceConfig) -> Iterator[Step]:
    """The slot; where standbys can keep copies of it, one that a planned failover takes along."""
    slot, synchronised = catalog.slot(source.slot), catalog.connection.info.server_version >= SYNCHRONISED_FROM
    if slot is None:
        literal = source.slot.replace("'", "''")
        yield Step(
            f"slot {source.slot}: the server keeps its WAL from here on until the log has it"
            + (", also over a planned failover" if synchronised else ""),
            f"SELECT pg_create_logical_replication_slot('{literal}', 'pgoutput'{', failover => true' * synchronised})",
            waits=True,
        )
    elif synchronised and not slot.failover and slot.active_pid is None:
        yield Step(
            f"slot {source.slot}: standbys may keep copies of it, for a planned failover",
            f"ALTER_REPLICATION_SLOT {sql_name(source.slot)} (FAILOVER true)",
            replication=True,
        )


def advance_step(source: SourceConfig) -> Step:
    """Move the slot to the end of the WAL: what it still held is passed over."""
    literal = source.slot.replace("'", "''")
    return Step(
        f"slot {source.slot}: behind what was written without the publication",
        f"SELECT pg_replication_slot_advance('{literal}', pg_current_wal_lsn())",
    )


def _in_turns(connection: "psycopg.Connection[tuple[Any, ...]]", step: Step, say: Callable[[str], None]) -> None:
    connection.execute(f"SET lock_timeout = {LOCK_TIMEOUT_MS}".encode())
    began, said, turns = time.monotonic(), False, LOCK_TURNS
    while True:
        try:
            connection.execute(step.statement.encode())
            return
        except psycopg.errors.LockNotAvailable:
            turns -= 1
            if not turns:
                raise
            time.sleep(LOCK_PAUSE_S)
        except psycopg.errors.ObjectInUse as exc:
            if time.monotonic() - began > SLOT_FREE_S:
                raise
            if not said:
                say(f"{one_line(exc)}: waiting up to {SLOT_FREE_S:g} s")
                said = True
            time.sleep(SLOT_PAUSE_S)
