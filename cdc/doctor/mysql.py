"""What `doctor` finds of a MySQL or MariaDB: every setting that the guarantees need, each with what to do about it. It changes nothing."""

from collections.abc import Iterator

from ...schemas.errors import CommitLogError, Refused, SchemaError
from ...transforms.registry import Registry
from ..config import Config
from ..source.mysql.checks import check_identity, check_key, check_log, check_version, remedy, unfit, wrong_settings
from ..source.mysql.grants import Privileges, missing
from ..source.mysql.provision import stamp_table
from ..source.step import mapped
from ..tail.mysql_address import safety
from ..tail.mysql_catalog import Catalog, Identity, LogEnd, MysqlTable
from .finding import Finding
from .home import diagnose_log, state_now
from .mapping import unmapped

DAY_S = 86_400
EXPIRY_S_MIN = 3 * DAY_S
"""A weekend: for so long no worker may run before history is lost."""


def diagnose(config: Config, catalog: Catalog, registry: Registry) -> Iterator[Finding]:
    """Look at everything.

    Raises:
        Unreachable: The source does not answer.
    """
    identity = catalog.identity()
    name = "server" if identity.engine == "mysql" else "server_id"
    yield Finding("ok", f"source {config.source.shown} answers: {name} {identity.server}")
    unsafe = safety(catalog.address)
    if unsafe:
        yield Finding(
            "warning",
            f"the way to the source is open: {unsafe}",
            "ssl-mode=verify_identity and ssl-ca=FILE in [source] url",
        )
    yield from _version(catalog)
    yield from _settings(catalog)
    yield from _replica(identity, catalog)
    yield from _durability(catalog)
    yield from _expiry(catalog)
    yield from _role(catalog, registry)
    try:
        end = catalog.binlog_end()
    except Refused:
        return  # it was said above, of log_bin or of a privilege
    yield from _tables(config, catalog, registry, end)
    yield from _cascades(catalog, registry)
    yield from _stamp(catalog)
    yield from _standing(config, catalog, identity)
    yield from diagnose_log(config)


def _version(catalog: Catalog) -> Iterator[Finding]:
    try:
        check_version(catalog)
    except Refused as exc:
        yield Finding("error", str(exc), exc.hint)
        return
    product = "MySQL" if catalog.engine == "mysql" else "MariaDB"
    yield Finding("ok", f"{product} {'.'.join(map(str, catalog.version))}")


def _settings(catalog: Catalog) -> Iterator[Finding]:
    wrong = wrong_settings(catalog)
    for name, what in wrong.items():
        yield Finding("error", what, remedy(catalog, name) if name == "log_bin" else "commitlog setup")
    if not wrong:
        yield Finding("ok", "the binary log has whole rows with the names of their columns")
    if catalog.setting("binlog_storage_engine"):
        yield Finding(
            "error", "the binary log is kept in InnoDB, which cannot be read", "restart without binlog_storage_engine"
        )
    if catalog.setting("server_id") == "0":
        yield Finding("error", "server_id is 0: the server sends its binary log to nobody", "SET PERSIST server_id = 1")
    if catalog.engine == "mariadb" and catalog.setting("gtid_strict_mode") != "ON":
        yield Finding(
            "warning",
            "gtid_strict_mode is off: transactions may get numbers that are lower than those before",
            "SET GLOBAL gtid_strict_mode = ON, and write it into the options file",
        )
    if catalog.setting("binlog_checksum") == "NONE":
        yield Finding(
            "warning",
            "binlog_checksum is NONE: a byte that is damaged in the binary log goes unnoticed",
            "SET GLOBAL binlog_checksum = CRC32",
        )


def _replica(identity: Identity, catalog: Catalog) -> Iterator[Finding]:
    updates = "log_replica_updates" if identity.engine == "mysql" else "log_slave_updates"
    if identity.replica and catalog.setting(updates) != "ON":
        yield Finding(
            "error",
            f"the source is a replica, and {updates} is off: what comes from its source is not in its binary log",
            f"start it with --{updates.replace('_', '-')}, or point [source] url at its source",
        )
    elif identity.replica:
        yield Finding(
            "warning",
            "the source is a replica: a log that is made from it goes on with it only",
            "point [source] url at its source",
        )


def _durability(catalog: Catalog) -> Iterator[Finding]:
    if catalog.setting("sync_binlog") != "1":
        yield Finding(
            "warning",
            f"sync_binlog is {catalog.setting('sync_binlog')}: a crash of the machine may take back transactions that the log has",
            _global(catalog, "sync_binlog", "1"),
        )
    flush = catalog.setting("innodb_flush_log_at_trx_commit")
    if flush != "1":
        yield Finding(
            "warning",
            f"innodb_flush_log_at_trx_commit is {flush}: a crash may take back transactions that the log has",
            _global(catalog, "innodb_flush_log_at_trx_commit", "1"),
        )


def _expiry(catalog: Catalog) -> Iterator[Finding]:
    seconds = int(catalog.setting("binlog_expire_logs_seconds") or 0)
    if 0 < seconds < EXPIRY_S_MIN:
        yield Finding(
            "warning",
            f"the binary log is kept for {seconds / DAY_S:.3g} days: without a worker for longer, history is lost",
            _global(catalog, "binlog_expire_logs_seconds", str(7 * DAY_S)),
        )
    limit = int(catalog.setting("max_binlog_total_size") or 0)
    if limit:
        yield Finding(
            "warning",
            f"the server purges its binary log above {limit:,} bytes, whether a worker has read it or not",
            _global(catalog, "max_binlog_total_size", "0"),
        )


def _role(catalog: Catalog, registry: Registry) -> Iterator[Finding]:
    ((user,),) = catalog.rows("SELECT CURRENT_USER()")
    lacks = list(missing(catalog, "", mapped(registry)))
    for lack in lacks:
        yield Finding("error", f"user {user} {lack.what}", lack.grant)
    held = Privileges.parse(catalog.grants())
    if held.everywhere & {"ALL PRIVILEGES", "SUPER", "CREATE USER"}:
        yield Finding(
            "warning",
            f"the worker's user {user} may do everything",
            "commitlog setup --role commitlog: a user who may do what the worker needs, and no more",
        )
    elif not lacks:
        yield Finding("ok", f"user {user} may do what the worker needs")


def _tables(config: Config, catalog: Catalog, registry: Registry, end: LogEnd) -> Iterator[Finding]:
    yield from unmapped(config, registry, catalog.tables())
    known = mapped(registry)
    held = Privileges.parse(catalog.grants())
    there = catalog.tables_of(known)
    for name in sorted(known):
        found = there.get(name)
        if found is None and not held.has("SELECT", name):
            continue  # nothing of it is shown to this user, which was said above
        if found is None:
            entity = next(s.by_table[name].name for s in registry.schemas if name in s.by_table)
            yield Finding(
                "warning",
                f"table {'.'.join(name)} of {entity} does not exist",
                "correct from: in the app schema, then commitlog setup",
            )
        else:
            yield from _table(found, end)
            yield from _entities(found, catalog, config, registry)


def _table(table: MysqlTable, end: LogEnd) -> Iterator[Finding]:
    wrong = unfit(end, table)
    if wrong is not None:
        yield Finding("error", *wrong)
    elif not table.transactional:
        yield Finding(
            "warning",
            f"table {table.quoted} is of the engine {table.engine}, which knows no transactions: what is rolled back stays, and is recorded",
            f"ALTER TABLE {table.sql} ENGINE=InnoDB",
        )
    else:
        yield Finding("ok", f"table {table.quoted} is logged whole")


def _entities(table: MysqlTable, catalog: Catalog, config: Config, registry: Registry) -> Iterator[Finding]:
    present, name = {column.name for column in table.columns}, (table.namespace, table.name)
    entities = {e.name: e for s in registry.schemas for e in s.entities.values() if e.table == name}
    for entity in entities.values():
        absent = [field for field in entity.published(config.log.visibility) if field not in present]
        if absent:
            yield Finding(
                "warning",
                f"table {table.quoted} has no column {', '.join(absent)} of {entity.name}",
                "commitlog schema check",
            )
        try:
            check_key(catalog, entity)
        except SchemaError as exc:
            yield Finding("error", str(exc), exc.hint)


def _cascades(catalog: Catalog, registry: Registry) -> Iterator[Finding]:
    if catalog.logs_cascades:
        return
    for name, table in sorted(catalog.tables_of(mapped(registry)).items()):
        for key in catalog.cascades(table):
            yield Finding(
                "warning",
                f"foreign key {key.name} changes rows of {'.'.join(name)} when {'.'.join(key.parent)} changes (ON DELETE {key.on_delete},"
                f" ON UPDATE {key.on_update}), and the server does not log that: the log and its forks keep those rows as they were",
                "let the app change them itself, and make the key RESTRICT"
                + (", or upgrade to MySQL 9.6 or later" if catalog.engine == "mysql" else ""),
            )


def _stamp(catalog: Catalog) -> Iterator[Finding]:
    try:
        table = stamp_table(catalog)
    except Refused as exc:
        yield Finding("error", str(exc), exc.hint)
        return
    if table is None:
        yield Finding(
            "warning",
            "there is no table commitlog.stamp, or this user may not see it: without it nobody can tag transactions",
            "commitlog setup --app-role NAME, and --role for this user",
        )
    else:
        form = "only logged" if len(table.columns) == 1 else "one row for each connection"
        yield Finding("ok", f"commitlog.stamp carries tags: {form}")


def _standing(config: Config, catalog: Catalog, identity: Identity) -> Iterator[Finding]:
    """Whether the source still has what the log needs to go on."""
    try:
        state = state_now(config)
        if state is None:
            return
        check_identity(identity, state)
        check_log(catalog, identity, state)
    except CommitLogError as exc:
        yield Finding("error", str(exc), exc.hint)
        return
    if state.genesis:
        size = sum(file.size for file in catalog.binary_logs())
        yield Finding(
            "ok", f"the binary log, {size:,} bytes, has all that comes after the log's position {state.position}"
        )


def _global(catalog: Catalog, name: str, value: str) -> str:
    if catalog.engine == "mysql":
        return f"SET PERSIST {name} = {value}"
    return f"SET GLOBAL {name} = {value}, and write it into the options file"
