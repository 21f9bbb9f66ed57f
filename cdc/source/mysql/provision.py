"""What `setup` makes on a MySQL or MariaDB, and `teardown` drops: the table whose rows carry the tags, and the settings that have the binary
log tell whole rows with the names of their columns.
"""

from collections.abc import Callable, Iterator

from ....schemas.errors import Refused
from ....transforms.registry import Registry
from ...config import Config
from ...tail.binlog.table_map import STAMP
from ...tail.mysql_catalog import Catalog, MysqlTable, sql_name
from ...tail.mysql_connection import ERRORS, code, one_line
from ..provision import Provision
from ..step import PRINT, Step, mapped
from .beginning import Beginning
from .checks import check_key, check_version, missing_tables, remedy, wrong_settings
from .grants import missing, stamping

CTX = "ctx VARCHAR(4000) CHARACTER SET utf8mb4 NOT NULL"
LOGGED = f"CREATE TABLE {sql_name(*STAMP)} ({CTX}) ENGINE=BLACKHOLE"
"""A row that goes to the binary log and nowhere else."""
ROW = f"CREATE TABLE {sql_name(*STAMP)} (conn BIGINT UNSIGNED NOT NULL PRIMARY KEY, n BIGINT NOT NULL, {CTX}) ENGINE=InnoDB"
"""One row for each connection."""

_GTID_MODES = ("OFF", "OFF_PERMISSIVE", "ON_PERMISSIVE", "ON")
_DENIED = (1044, 1142, 1227)


def mapped_tables(catalog: Catalog, registry: Registry) -> list[MysqlTable]:
    """The existing tables that the app schemas map.

    Raises:
        Refused: A key is not one that the source itself keeps, or none of the tables exists.
    """
    found = catalog.tables_of(mapped(registry))
    for entity in {(e.table, e.key): e for schema in registry.schemas for e in schema.entities.values()}.values():
        if entity.table in found:
            check_key(catalog, entity)
    if not found:
        raise Refused(
            "no app schema maps a table of this server: nothing would be recorded",
            hint="commitlog schema draft > schemas/app.yaml, then read and correct it",
        )
    return list(found.values())


class MysqlProvision(Provision[Catalog]):
    """The stamp, and settings of the binary log."""

    leftover = "the settings of the binary log stay as they are"
    nothing = "there is no table commitlog.stamp"

    def __init__(self, config: Config) -> None:
        super().__init__(config, Catalog(config.source.conninfo()))

    def setup_steps(self, registry: Registry) -> list[Step]:
        """What is missing on the source, in the order it must be done; empty when all is there.

        Raises:
            Refused: The server writes no binary log, or is too old.
        """
        check_version(self.catalog)
        self.catalog.binlog_end()
        identity = self.catalog.identity()
        if identity.read_only:
            raise Refused(
                "the source is read only, and nothing can be made on it", hint="point [source] url at the primary"
            )
        mapped_tables(self.catalog, registry)
        return [*_settings(self.catalog), *_stamp(self.catalog)]

    def grant_steps(self, registry: Registry, role: str) -> list[Step]:
        """What a user lacks to be the worker's: no more is granted than it needs, and that it can see whether there is a stamp."""
        tables = [STAMP, *self.catalog.tables_of(mapped(registry))]
        return [Step(f"user {role}: {lack.grant}", lack.grant) for lack in missing(self.catalog, role, tables)]

    def app_steps(self, user: str) -> list[Step]:
        """What an app's user needs to stamp its transactions."""
        table = stamp_table(self.catalog)
        logged = not no_blackhole(self.catalog) if table is None else len(table.columns) == 1
        statement = stamping(self.catalog, user, logged=logged)
        return [Step(f"user {user}: may stamp its transactions, and no more", statement)]

    def teardown_steps(self) -> list[Step]:
        """What `setup` made and is still there. Settings stay: what they were before is not known."""
        names = {
            str(row[0])
            for row in self.catalog.rows(
                "SELECT TABLE_NAME FROM information_schema.TABLES WHERE TABLE_SCHEMA = 'commitlog'"
            )
        }
        steps: list[Step] = []
        if STAMP[1] in names:
            steps.append(Step("table commitlog.stamp", f"DROP TABLE {sql_name(*STAMP)}"))
        there = self.catalog.rows("SELECT 1 FROM information_schema.SCHEMATA WHERE SCHEMA_NAME = 'commitlog'")
        if there and not names - {STAMP[1]}:
            steps.append(Step("database commitlog", "DROP DATABASE commitlog"))
        return steps

    def execute(self, step: Step, *, say: Callable[[str], None] = lambda _: None) -> None:
        """Do one step.

        Args:
            step: What to do.
            say: Told what is waited for; here nothing is.

        Raises:
            Refused: The server does not allow it.
            Unreachable: It does not answer.
        """
        try:
            self.catalog.connection.rows(step.statement)
        except ERRORS as exc:
            if code(exc) in _DENIED:
                raise Refused(f"{step.text}: {one_line(exc)}", hint=f"let a DBA run what {PRINT} prints") from exc
            failed = self.catalog.failed(exc)
            raise type(failed)(f"{step.text}: {one_line(exc)}", hint=failed.hint) from exc

    def note_begin(self) -> None:
        """By a file beside the configuration, once; the first worker begins there."""
        Beginning.now(self.catalog).note(self.config.begin_path)

    def missing_tables(self, registry: Registry) -> Iterator[str]:
        """As the base says."""
        return missing_tables(self.catalog, registry)


def _settings(catalog: Catalog) -> Iterator[Step]:
    """Sessions that are there already keep some of what they began with, so an app connects anew after this."""
    lasting = (
        ""
        if catalog.engine == "mysql"
        else "; write it into the server's options file, too, or a restart takes it back"
    )
    for name in wrong_settings(catalog):
        if name == "gtid_mode":
            now = catalog.setting(name).upper()
            for mode in _GTID_MODES[_GTID_MODES.index(now) + 1 :]:
                yield Step(
                    f"gtid_mode {mode}: each transaction gets a number of its own", f"SET PERSIST gtid_mode = {mode}"
                )
        else:
            yield Step(f"{name}: for all sessions that begin from now on{lasting}", remedy(catalog, name))


def _stamp(catalog: Catalog) -> Iterator[Step]:
    if stamp_table(catalog) is not None:
        return
    yield Step("database commitlog: for the stamp", "CREATE DATABASE IF NOT EXISTS commitlog")
    why = no_blackhole(catalog)
    if why:
        yield Step(f"table commitlog.stamp: one row for each connection carries its tags ({why})", ROW)
    else:
        yield Step("table commitlog.stamp: its rows carry tags into the binary log, and are stored nowhere", LOGGED)


def stamp_table(catalog: Catalog) -> MysqlTable | None:
    """The stamp, or None where there is none yet.

    Raises:
        Refused: A table of that name is none.
    """
    table = catalog.table(*STAMP)
    names = {column.name for column in table.columns} if table is not None else {"ctx"}
    if names not in ({"ctx"}, {"conn", "n", "ctx"}):
        raise Refused("table commitlog.stamp has other columns than a stamp", hint="rename it, then commitlog setup")
    return table


def no_blackhole(catalog: Catalog) -> str:
    """Why the stamp is not to be a row that is only logged; empty where it may be."""
    supported = dict(catalog.rows("SELECT UPPER(ENGINE), SUPPORT FROM information_schema.ENGINES"))
    if supported.get("BLACKHOLE") not in ("YES", "DEFAULT"):
        return "the server has no engine BLACKHOLE"
    if "blackhole" in catalog.setting("disabled_storage_engines").lower():
        return "disabled_storage_engines has BLACKHOLE"
    if catalog.setting("enforce_storage_engine"):
        return "enforce_storage_engine is set"
    if catalog.setting("sql_require_primary_key") == "ON":
        return "sql_require_primary_key is on"
    if catalog.setting("wsrep_on") == "ON":
        return "a Galera cluster replicates InnoDB only"
    if catalog.setting("group_replication_group_name"):
        return "Group Replication takes InnoDB only"
    return ""
