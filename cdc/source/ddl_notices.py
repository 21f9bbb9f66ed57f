"""Event triggers that put into the stream what it does not tell by itself: that tables were altered, rewritten or unpublished.

They write one logical message into the transaction that does it, so the worker learns of it at its place in the stream, also long after.
A trigger that fails warns, and never makes the app's own statement fail.

Anyone may write under the same prefix, so a notice is taken for hearsay: what it says is believed as far as the catalogs bear it out.
Every change leaves a row there that its transaction or a later one wrote; where an older row still stands, nothing of the kind happened.
"""

import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

from ..config import SourceConfig
from ..tail.catalog import Catalog, sql_name
from ..tail.incarnation import SCHEMAS_PUBLISHED_FROM
from ..tail.pgoutput import NOTICE_PREFIX
from ..tail.transaction import Notice

log = logging.getLogger("commitlog")

SCHEMA = "commitlog"
"""Where the triggers' function is."""

NAME_BYTES = 59
"""PostgreSQL cuts names at 63 bytes."""

UNLOGGED = 1
NEW_TYPE = 4
"""Bits of pg_event_trigger_table_rewrite_reason(): the persistence changed, a column's type changed."""

_FUNCTION = """
CREATE OR REPLACE FUNCTION {function}() RETURNS event_trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog AS $body$
DECLARE notice json;
BEGIN
  IF tg_event = 'table_rewrite' THEN
    SELECT json_build_object('rewritten', oid::int8, 'reason', pg_event_trigger_table_rewrite_reason()) INTO notice
      FROM pg_class WHERE oid = pg_event_trigger_table_rewrite_oid() AND relpersistence <> 't';
  ELSIF tg_event = 'sql_drop' THEN
    SELECT json_build_object('dropped', json_agg(objid::int8)) INTO notice
      FROM pg_event_trigger_dropped_objects() WHERE object_type = 'table' AND NOT is_temporary HAVING count(*) > 0;
  ELSIF tg_tag LIKE '%PUBLICATION' THEN
    SELECT json_build_object('publication', {name}, 'ways', coalesce((
        SELECT json_agg(way) FROM (
          SELECT 'table ' || r.oid AS way FROM pg_publication_rel r JOIN pg_publication p ON p.oid = r.prpubid WHERE p.pubname = {name}
          UNION SELECT 'all ' || oid FROM pg_publication WHERE puballtables AND pubname = {name} {schemas}) w), '[]'),
      'left_out', coalesce((SELECT concat_ws(', ', CASE WHEN NOT pubinsert THEN 'inserts' END, CASE WHEN NOT pubupdate THEN 'updates' END,
          CASE WHEN NOT pubdelete THEN 'deletes' END, CASE WHEN NOT pubtruncate THEN 'truncates' END)
        FROM pg_publication WHERE pubname = {name}), ''),
      'by_leaf', EXISTS (SELECT FROM pg_publication WHERE pubname = {name} AND NOT pubviaroot)) INTO notice;
  ELSIF tg_tag = 'ALTER TYPE' THEN
    notice := json_build_object('altered', json_build_array());
  ELSE
    SELECT json_build_object('altered', json_agg(DISTINCT objid::int8)) INTO notice
      FROM pg_event_trigger_ddl_commands()
      WHERE classid = 'pg_class'::regclass AND schema_name <> 'pg_temp'
      HAVING count(*) > 0;
  END IF;
  IF notice IS NOT NULL THEN
    PERFORM pg_logical_emit_message(true, '{prefix}', notice::text);
  END IF;
EXCEPTION WHEN OTHERS THEN
  RAISE WARNING 'commitlog is not told of this %: %', tg_tag, sqlerrm;
END $body$
"""
_QUOTE: Final = "$body$"
_SETTINGS: Final = ["search_path=pg_catalog"]
"""What the function is made with, as pg_proc has it."""

_BY_SCHEMA = """UNION SELECT 'schema ' || s.oid FROM pg_publication_namespace s JOIN pg_publication p ON p.oid = s.pnpubid
            WHERE p.pubname = {name}"""

_OLDER = "age(xmin) > age(%(xid)s::int8::text::xid)"
_STANDING = """
SELECT way FROM (
    SELECT 'table ' || r.oid AS way, r.xmin FROM pg_publication_rel r JOIN pg_publication p ON p.oid = r.prpubid WHERE p.pubname = %(name)s
    UNION ALL SELECT 'all ' || oid, xmin FROM pg_publication WHERE puballtables AND pubname = %(name)s {by_schema}) w
WHERE {older}
"""
_STANDING_BY_SCHEMA = """UNION ALL SELECT 'schema ' || s.oid, s.xmin FROM pg_publication_namespace s
        JOIN pg_publication p ON p.oid = s.pnpubid WHERE p.pubname = %(name)s"""

_TAGS: Final = ("ALTER PUBLICATION", "CREATE PUBLICATION", "DROP PUBLICATION", "ALTER TABLE", "ALTER TYPE")


@dataclass(frozen=True, slots=True)
class Rewritten:
    """A table got another file with the values made anew; `reason` as PostgreSQL has it."""

    oid: int
    reason: int


@dataclass(frozen=True, slots=True)
class Altered:
    """Tables were altered, or are gone: their object ids; none where a type was altered."""

    oids: frozenset[int]
    dropped: bool


@dataclass(frozen=True, slots=True)
class Published:
    """A publication was changed, or may have been: its name, how tables are in it now (as Incarnation has it), which kinds of change it
    leaves out, and whether partitions are published under their own names."""

    publication: str
    ways: frozenset[str]
    left_out: str
    by_leaf: bool


def read(notice: Notice) -> Rewritten | Altered | Published:
    """Take a notice apart. One that is not of the triggers, for anyone may write under their prefix, may mean anything: as if a type
    had been altered, the tables are looked at.
    """
    try:
        document: dict[str, Any] = json.loads(notice)
        if "rewritten" in document:
            return Rewritten(int(document["rewritten"]), int(document["reason"]))
        if "ways" in document:
            ways = frozenset(map(str, document["ways"]))
            return Published(str(document["publication"]), ways, str(document["left_out"]), bool(document["by_leaf"]))
        name = "dropped" if "dropped" in document else "altered"
        return Altered(frozenset(map(int, document[name])), name == "dropped")
    except (ValueError, KeyError, TypeError, RecursionError) as exc:
        log.warning(
            "a message under the prefix %s is not of commitlog's event triggers: %r", NOTICE_PREFIX.decode(), exc
        )
        return Altered(frozenset(), dropped=False)


def borne_out(
    catalog: Catalog, notice: Rewritten | Altered | Published, xid: int
) -> Rewritten | Altered | Published | None:
    """What is left of a notice, None for nothing.

    Args:
        catalog: The source; it must see the transaction.
        notice: What the notice says.
        xid: Its transaction.
    """
    if isinstance(notice, Rewritten):
        table = {"oid": notice.oid, "xid": xid}
        return None if catalog.rows(f"SELECT FROM pg_class WHERE oid = %(oid)s AND {_OLDER}", table) else notice
    if isinstance(notice, Altered):
        if not notice.dropped:
            return notice
        oids = [oid for oid in notice.oids if 0 < oid < 1 << 32]
        standing = catalog.rows("SELECT oid::int8 FROM pg_class WHERE oid = ANY (%s::oid[])", (oids,))
        gone = frozenset(oids).difference(row[0] for row in standing)
        return Altered(gone, dropped=True) if gone else None
    by_schema = _STANDING_BY_SCHEMA if catalog.connection.info.server_version >= SCHEMAS_PUBLISHED_FROM else ""
    names = {"name": notice.publication, "xid": xid}
    ways = notice.ways.union(row[0] for row in catalog.rows(_STANDING.format(by_schema=by_schema, older=_OLDER), names))
    if catalog.rows(f"SELECT FROM pg_publication WHERE pubname = %(name)s AND {_OLDER}", names):
        # What it leaves out now, it left out then: whoever looks at the catalogs finds it.
        return replace(notice, ways=ways, left_out="", by_leaf=False)
    return replace(notice, ways=ways)


def triggers(source: SourceConfig) -> dict[str, tuple[str, tuple[str, ...]]]:
    """The names of the event triggers for a publication, each with its event and the tags that it fires on; none for all."""
    name = f"commitlog_{source.publication}".encode()[:NAME_BYTES].decode(errors="ignore")
    return {
        f"{name}_ddl": ("ddl_command_end", _TAGS),
        f"{name}_drp": ("sql_drop", ()),
        f"{name}_rwr": ("table_rewrite", ()),
    }


def standing(catalog: Catalog, source: SourceConfig) -> Literal["missing", "outdated", "ready"]:
    """Whether the event triggers are there, and fire whatever session_replication_role a session has; and whether they are as `make`
    makes them, or as another version did."""
    wanted = triggers(source)
    rows = catalog.rows(
        "SELECT evtname::text, evtevent::text, coalesce(evttags::text[], '{}'), prosrc, prosecdef, proconfig"
        " FROM pg_event_trigger JOIN pg_proc p ON p.oid = evtfoid WHERE evtname = ANY (%s) AND evtenabled = 'A'",
        (list(wanted),),
    )
    if len(rows) < len(wanted):
        return "missing"
    body = _function(catalog, source).split(_QUOTE)[1]
    made = {name: (event, sorted(tags), body, True, _SETTINGS) for name, (event, tags) in wanted.items()}
    found = {name: (event, sorted(tags), *function) for name, event, tags, *function in rows}
    return "ready" if found == made else "outdated"


def may_make(catalog: Catalog) -> bool:
    """Whether this role may make event triggers."""
    return bool(catalog.rows("SELECT rolsuper FROM pg_roles WHERE rolname = current_user")[0][0])


def make(catalog: Catalog, source: SourceConfig) -> Iterator[str]:
    """The statements that make the event triggers, or make them anew."""
    yield f"CREATE SCHEMA IF NOT EXISTS {sql_name(SCHEMA)}"
    yield _function(catalog, source)
    for name, (event, tags) in triggers(source).items():
        listed = ", ".join(f"'{tag}'" for tag in tags)
        when = f" WHEN TAG IN ({listed})" if tags else ""
        yield f"DROP EVENT TRIGGER IF EXISTS {sql_name(name)}"
        yield f"CREATE EVENT TRIGGER {sql_name(name)} ON {event}{when} EXECUTE FUNCTION {sql_name(SCHEMA, source.publication)}()"
        yield f"ALTER EVENT TRIGGER {sql_name(name)} ENABLE ALWAYS"


def _function(catalog: Catalog, source: SourceConfig) -> str:
    literal = "'" + source.publication.replace("'", "''") + "'"
    schemas = _BY_SCHEMA if catalog.connection.info.server_version >= SCHEMAS_PUBLISHED_FROM else ""
    return _FUNCTION.format(
        function=sql_name(SCHEMA, source.publication),
        name=literal,
        prefix=NOTICE_PREFIX.decode(),
        schemas=schemas.format(name=literal),
    ).strip()


def drop(catalog: Catalog, source: SourceConfig) -> Iterator[str]:
    """The statements that drop what `make` made and is there."""
    names = list(triggers(source))
    for row in catalog.rows("SELECT evtname::text FROM pg_event_trigger WHERE evtname = ANY (%s)", (names,)):
        yield f"DROP EVENT TRIGGER {sql_name(row[0])}"
    found = catalog.rows(
        "SELECT (SELECT count(*) FROM pg_proc WHERE pronamespace = n.oid AND proname = %s),"
        " (SELECT count(*) FROM pg_depend WHERE refclassid = 'pg_namespace'::regclass AND refobjid = n.oid)"
        " FROM pg_namespace n WHERE nspname = %s",
        (source.publication, SCHEMA),
    )
    if found and found[0][0]:
        yield f"DROP FUNCTION {sql_name(SCHEMA, source.publication)}()"
        if found[0][1] == 1:
            yield f"DROP SCHEMA {sql_name(SCHEMA)}"
