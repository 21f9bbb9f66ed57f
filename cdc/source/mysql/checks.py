"""Does a MySQL or MariaDB still hold what the log needs to go on? Asked before every start of the stream.

Each way of losing history has its own message; none is passed over. A place in a binary log holds on its own server only, so the
server must be the same; that its history is the same, too, is asked of its GTIDs, and then of the stream, which repeats the log's last
commit.
"""

from collections.abc import Iterator

from ....schemas.errors import ACCEPT_GAP, HistoryLost, Refused, SchemaError
from ....schemas.position import parse_binlog
from ....transforms.app_schema import Entity
from ....transforms.registry import Registry
from ....transforms.table_name import quoted
from ...log.state import LogState
from ...tail.binlog.charset import is_readable
from ...tail.gtids import Gtids, parse_gtids
from ...tail.mysql_catalog import BinaryLog, Catalog, Identity, LogEnd, MysqlColumn, MysqlTable, sql_name
from ...tail.unique_key import require_unique
from ..step import entities_of, mapped
from .grants import Privileges, own_account

CORRECT = f"correct [source] url, or: {ACCEPT_GAP}"

VERSION_MIN = {"mysql": (8, 0, 23), "mariadb": (10, 6, 0)}
"""The first versions with what is read of them: names, keys and labels in the binary log; MySQL 8.4 and MariaDB 10.11 are tested."""

NEEDED = {
    "log_bin": ("ON", "there is no log to read"),
    "binlog_format": ("ROW", "sessions log statements, not rows"),
    "binlog_row_image": ("FULL", "rows are logged without some of their columns"),
    "binlog_row_metadata": ("FULL", "rows are logged without the names of their columns"),
}
"""Setting to the value that it must have, and what it means that it has another."""

_ONLY = {
    "mysql": {
        "enforce_gtid_consistency": ("ON", "some transactions can have no GTIDs"),
        "gtid_mode": ("ON", "transactions have no GTIDs"),
    },
    "mariadb": {},
}


def needed(catalog: Catalog) -> dict[str, tuple[str, str]]:
    """The settings that must be so, see NEEDED."""
    return {**NEEDED, **_ONLY[catalog.engine]}


def wrong_settings(catalog: Catalog) -> dict[str, str]:
    """The settings that are not as they must be, each with what is wrong, in the order they are to be set right."""
    found: dict[str, str] = {}
    for name, (wanted, meaning) in needed(catalog).items():
        value = catalog.setting(name)
        if name == "binlog_format" and not value:
            continue  # a server that knows nothing but rows needs no word for them
        if value.upper() != wanted:
            found[name] = f"{name} is {value or 'not known'}: {meaning}"
    return found


def remedy(catalog: Catalog, name: str) -> str:
    """What sets a setting as it must be: SQL, or what to do."""
    if name == "log_bin":
        return "start the server with --log-bin"
    wanted = needed(catalog)[name][0]
    return f"SET {'PERSIST' if catalog.engine == 'mysql' else 'GLOBAL'} {name} = {wanted}"


def check_version(catalog: Catalog) -> None:
    """Is the server new enough?

    Raises:
        Refused: It is not.
    """
    least = VERSION_MIN[catalog.engine]
    if catalog.version < least:
        shown, first = (".".join(map(str, version)) for version in (catalog.version, least))
        raise Refused(
            f"the source is version {shown}; {first} is the first that can be read", hint="upgrade the server"
        )


def check_settings(catalog: Catalog) -> None:
    """Does the server log whole rows with all that describes them?

    Raises:
        Refused: It does not, or is too old to.
    """
    check_version(catalog)
    if catalog.setting("binlog_storage_engine"):
        raise Refused(
            "the source keeps its binary log in InnoDB, which cannot be read",
            hint="restart it without binlog_storage_engine",
        )
    for name, wrong in wrong_settings(catalog).items():
        way = remedy(catalog, name)
        raise Refused(f"on the source {wrong}", hint=way if name == "log_bin" else f"commitlog setup, or: {way}")


def check_identity(identity: Identity, state: LogState) -> None:
    """Is this the flavour of server that the log was made from? Whether it is the same one `check_log` asks, which sees its GTIDs.

    Raises:
        HistoryLost: It is not.
    """
    genesis = state.genesis
    if genesis and "gtids" not in genesis:
        raise HistoryLost(
            f"the source is a {identity.engine}, and the log was made from another kind of database", hint=CORRECT
        )


def check_log(catalog: Catalog, identity: Identity, state: LogState) -> None:
    """Does the server still have all that the log has, and everything after the log's position?

    Raises:
        HistoryLost: It does not; the message says in which of the ways.
    """
    if not state.genesis:
        return
    executed, known = catalog.gtid_executed(), known_gtids(identity.engine, state)
    missing = known.subtract(executed)
    ends = _ends_there(catalog, state) if not missing else None
    # A MariaDB may be given another server_id; where its log has our last commit in its place, it is the same one.
    if identity.server != state.genesis["server"] and not ends:
        _another(identity, state, missing=missing, shares=bool(known.subtract(missing)))
    logs = catalog.binary_logs()
    if missing:
        _behind(catalog, logs, executed=executed, missing=missing)
    _check_place(catalog, logs, state)
    if ends is False:
        raise HistoryLost(
            f"the source's history is another one: the log's last commit, {state.commit['id']}, does not end at"
            f" {state.commit['position']} of its binary log",
            hint=CORRECT,
        )


def _ends_there(catalog: Catalog, state: LogState) -> bool | None:
    """Whether the log's last commit ends in the binary log where the log says; None where that cannot be asked, as of a MySQL.

    Of that the stream tells by repeating it. A MariaDB is asked as well, because many have server_id 1.
    """
    if catalog.engine != "mariadb" or not state.commit:
        return None
    name, offset = parse_binlog(state.commit["position"])
    if all(file.name != name for file in catalog.binary_logs()):
        return None
    return state.commit["id"].partition(":")[2] in str(catalog.gtids_at(name, offset)).split(",")


def beginning(catalog: Catalog, state: LogState) -> str:
    """Where to begin to read for a log that is there: so that its last commit comes again, if the server still has that."""
    after = state.commit.get("after", "")
    kept = {file.name for file in catalog.binary_logs()}
    return after if after and parse_binlog(after)[0] in kept else state.position


def known_gtids(engine: str, state: LogState) -> Gtids:
    """What the log knows to be in the source's history: what was there at its beginning, and its last commit."""
    known = parse_gtids(engine, state.genesis["gtids"])
    identifier = state.commit.get("id", "")
    if identifier:
        known.add(identifier.partition(":")[2])
    return known


def _another(identity: Identity, state: LogState, *, missing: Gtids, shares: bool) -> None:
    name = f"server {identity.server}" if identity.engine == "mysql" else f"server_id {identity.server}"
    begun = f"the log was made from {state.genesis['server']}"
    if not missing and shares:
        raise HistoryLost(
            f"the source is another server ({name}; {begun}): it has all that the log has, but its binary log is its own, and where"
            f" {state.position} would be in it nobody can say",
            hint=CORRECT,
        )
    if identity.replica and missing:
        raise HistoryLost(
            f"the source is a replica ({name}; {begun}), and lacks what the log has: {_short(missing)}",
            hint=f"point [source] url at the server that the log was made from, or: {ACCEPT_GAP}",
        )
    if shares:
        raise HistoryLost(
            f"the source was restored from a copy on another server ({name}; {begun}): it lacks what the log has: {_short(missing)}",
            hint=CORRECT,
        )
    raise HistoryLost(f"the source is another server: {name}; {begun}", hint=CORRECT)


def _behind(catalog: Catalog, logs: list[BinaryLog], *, executed: Gtids, missing: Gtids) -> None:
    begun_anew = bool(logs) and _number(logs[0].name) == 1 and not (catalog.engine == "mysql" and catalog.gtid_purged())
    if not executed or begun_anew:
        ways = "RESET BINARY LOGS AND GTIDS, or an old copy of the server"
        if catalog.engine == "mariadb":
            ways = "RESET MASTER, an old copy of the server, or another one of the same server_id"
        raise HistoryLost(
            f"the source's binary log was begun anew ({ways}): it lacks what the log has: {_short(missing)}",
            hint=ACCEPT_GAP,
        )
    raise HistoryLost(
        f"the source was restored from a copy or a dump: it lacks what the log has: {_short(missing)}", hint=ACCEPT_GAP
    )


def _check_place(catalog: Catalog, logs: list[BinaryLog], state: LogState) -> None:
    """Is the log's position still in the binary log?"""
    name, offset = parse_binlog(state.position)
    sizes = {file.name: file.size for file in logs}
    if not logs:
        raise HistoryLost(
            f"the source writes no binary log any more; the log stands at {state.position}", hint=ACCEPT_GAP
        )
    base = name.rpartition(".")[0]
    if all(file.name.rpartition(".")[0] != base for file in logs):
        raise HistoryLost(
            f"the source's binary log is called {logs[-1].name.rpartition('.')[0]}, and was called {base} at {state.position}",
            hint=f"set log_bin back and restart the server, or: {ACCEPT_GAP}",
        )
    if name not in sizes and _number(name) < _number(logs[0].name):
        raise HistoryLost(
            f"the source has purged its binary log up to {logs[0].name}; the log stands at {state.position}, and what came after is"
            " not kept any more",
            hint=f"{ACCEPT_GAP}; and let the server keep more (binlog_expire_logs_seconds)",
        )
    if offset > sizes.get(name, 0):
        raise HistoryLost(
            f"the source's binary log ends at {logs[-1].name}:{logs[-1].size}, before the log's position {state.position}: its end was"
            " lost, or it was restored",
            hint=ACCEPT_GAP,
        )
    if not catalog.begins_event(name, offset):
        raise HistoryLost(
            f"the source's history is another one: nothing begins at {state.position} of its binary log; it was restored from a copy",
            hint=ACCEPT_GAP,
        )


def check_published(catalog: Catalog, registry: Registry, state: LogState, *, setup: str = "commitlog setup") -> None:
    """Does the binary log have all rows of every table that a schema maps, and that exists?

    Args:
        catalog: The source's catalogs.
        registry: The app schemas.
        state: The log's.
        setup: The command that makes the source ready.

    Raises:
        HistoryLost: It leaves out one of which the log has rows.
        Refused: It leaves out one that is new to the log, or one may not be read.
    """
    end, held = catalog.binlog_end(), Privileges.parse(catalog.grants())
    names = mapped(registry)
    found = catalog.tables_of(names)
    for name in sorted(names):
        table = found.get(name)
        if table is None and not held.has("SELECT", name):
            # The server shows nothing of a table to who may not read it.
            raise Refused(
                f"table {quoted(name)} is mapped by an app schema, and does not exist, or user {catalog.address.user} may not read it",
                hint=f"GRANT SELECT ON {sql_name(*name)} TO {own_account(catalog)}; or take it out of the app schemas",
            )
        wrong = unfit(end, table) if table is not None else None
        if wrong is None:
            continue
        message, hint = wrong
        entities = {schema.by_table[name].name for schema in registry.schemas if name in schema.by_table}
        if entities & state.snapshots.keys():
            raise HistoryLost(f"{message}: changes of it may be missing", hint=f"{hint}, then {ACCEPT_GAP}")
        raise Refused(message, hint=f"{hint}, then {setup}")


def check_key(catalog: Catalog, entity: Entity) -> None:
    """Does an entity's key tell the rows of its table apart? The table may go, or be made anew, between two questions.

    Raises:
        SchemaError: Nothing on the server sees to that.
    """
    try:
        require_unique(catalog.unique_keys(entity.table), entity)
    except SchemaError:
        if catalog.table(*entity.table) is not None:
            require_unique(catalog.unique_keys(entity.table), entity)


def missing_tables(catalog: Catalog, registry: Registry) -> Iterator[str]:
    """A sentence for each entity whose table does not exist."""
    there = catalog.tables_of(mapped(registry))
    for entity in entities_of(registry):
        if entity.table not in there:
            yield f"table {quoted(entity.table)} of {entity.name} does not exist"


def unfit(end: LogEnd, table: MysqlTable) -> tuple[str, str] | None:
    """Why the binary log does not tell of a table's rows as they are, and what to do about it; None where it does."""
    if leaves_out(end, table.namespace):
        return (
            f"table {table.quoted} is mapped by an app schema, and the binary log leaves out database {table.namespace}",
            "take binlog_do_db and binlog_ignore_db out of the server's options and restart it",
        )
    if table.versioned:
        return (
            f"table {table.quoted} is mapped by an app schema, and the binary log has its old versions (WITH SYSTEM VERSIONING) as rows"
            " of its own",
            f"ALTER TABLE {table.sql} DROP SYSTEM VERSIONING, or take it out of the app schemas",
        )
    compressed = [column.name for column in table.columns if "COMPRESSED" in column.engine_type]
    if compressed:
        return (
            f"table {table.quoted} is mapped by an app schema, and the binary log has its column {', '.join(compressed)} compressed,"
            " which is not read",
            "ALTER TABLE … MODIFY the column without COMPRESSED, or take the table out of the app schemas",
        )
    texts = (column for column in table.columns if isinstance(column, MysqlColumn))
    odd = next((column for column in texts if not is_readable(column.charset)), None)
    if odd is not None:
        return (
            f"table {table.quoted} is mapped by an app schema, and the text of its column {odd.name} in {odd.charset} cannot be decoded here",
            f"ALTER TABLE {table.sql} MODIFY the column with CHARACTER SET utf8mb4, or take the table out of the app schemas",
        )
    return None


def leaves_out(end: LogEnd, database: str) -> bool:
    """Whether the binary log leaves out a database: its rows are logged by the table's database."""
    return database in end.ignored or (bool(end.only) and database not in end.only)


def _number(name: str) -> int:
    return int(name.rpartition(".")[2])


def _short(gtids: Gtids) -> str:
    text = str(gtids)
    return text if len(text) <= 200 else f"{text[:200]}…"
