"""Looks at a PostgreSQL's tables when the stream, or an event trigger of `setup`, gives reason to, and now and then."""

import time

from ..config import Config
from ..source import ddl_notices
from ..source.ddl_notices import Altered, Published
from ..source.table_watch import TableWatch
from ..tail.catalog import Catalog
from ..tail.transaction import Notice, Relation
from .postgres_snapshot import Visibility
from .source import TableKeeper

VISIBLE_S = 1.0
VISIBLE_POLL_S = 0.002
"""How long to wait until a transaction that the stream has told of can be seen, and how often to ask."""


class PostgresTables:
    """See `TablesWatch`.

    Args:
        catalog: The source's catalogs.
        config: The worker's.
        keeper: Acts on what is found.
        epoch: The log's.
    """

    def __init__(self, catalog: Catalog, config: Config, keeper: TableKeeper, *, epoch: int) -> None:
        self._catalog, self._keeper = catalog, keeper
        self._unseen: int | None = None
        """A transaction that changed tables, and that could not be seen yet when they were looked at."""
        self._watch = TableWatch(
            config.tables_path,
            epoch=epoch,
            catalog=catalog,
            publication=config.source.publication,
            visibility=config.log.visibility,
        )
        self._watch.guarded = lambda: ddl_notices.standing(catalog, config.source) == "ready"
        self._described: set[int] = set()
        """Object ids of the tables that the stream has described; one that it describes anew may have been altered."""

    def look(self) -> None:
        """See whether tables changed in a way the stream does not tell of.

        Raises:
            HistoryLost: One was taken out of the publication and put back.
        """
        keeper = self._keeper
        if keeper.default is not None:
            found = self._watch.look(keeper.default, keeper.told(), unread={*keeper.unread()})
            for entity, why in found.items():
                keeper.renew(entity, why)
            if self._watch.changed:
                keeper.doubt_chunk()
                keeper.flush()
                self._watch.save()

    def look_again(self) -> None:
        """Look where the last look came before its reason could be seen."""
        if self._unseen is not None and self._sees_all():
            self.look()

    def met(self, relation: Relation, xid: int) -> None:
        """The stream describes a table: look, if it is in a form that is not known, or may be rewritten without a word."""
        default, anew = self._keeper.default, relation.oid in self._described
        self._described.add(relation.oid)
        if default is not None and (not self._watch.knows(relation, default) or (anew and not self._watch.guarded())):
            self._await(xid)
            self.look()

    def noticed(self, notices: list[Notice], xid: int) -> None:
        """Take note of what event triggers say of a transaction that comes next.

        Raises:
            HistoryLost: It took a table out of the publication, or stopped logging it.
        """
        concerning = [notice for notice in map(ddl_notices.read, notices) if self._watch.concerns(notice)]
        if not concerning:
            return
        self._await(xid)
        for hearsay in concerning:
            notice = self._watch.borne_out(hearsay, xid) if self._unseen is None else hearsay
            told = self._keeper.told()
            if isinstance(notice, Published):
                self._watch.published(notice, told)
            elif notice is not None:
                why = "its table was dropped" if isinstance(notice, Altered) else "its table was rewritten"
                for entity in self._watch.changed_by(notice, told):
                    self._keeper.renew(entity, why)
        self.look()

    def _await(self, xid: int) -> None:
        """Wait until others can see a transaction. It may come in the stream before: a moment, or while it waits for a standby."""
        deadline = time.monotonic() + VISIBLE_S
        self._unseen = xid
        self._keeper.doubt_chunk()
        while not self._sees_all() and time.monotonic() < deadline:
            time.sleep(VISIBLE_POLL_S)

    def _sees_all(self) -> bool:
        """Whether what the last look was after can be seen."""
        if self._unseen is not None:
            snapshot = self._catalog.rows("SELECT pg_current_snapshot()::text")[0][0]
            if Visibility.parse(snapshot).sees(self._unseen):
                self._unseen = None
        return self._unseen is None
