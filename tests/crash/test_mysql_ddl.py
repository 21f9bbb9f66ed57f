"""Tables of MySQL and MariaDB that are altered, swapped and emptied while apps write and workers are killed: the log ends as the source."""

import random

import pytest

from fixtures.binlog_load import load, open_shop
from fixtures.binlog_source import BinlogSource

pytestmark = pytest.mark.timeout(200)

_SAFE = (
    "ALTER TABLE orders ADD COLUMN x{n} int DEFAULT {n}",
    "ALTER TABLE orders MODIFY status varchar({wide})",
    "ALTER TABLE orders ADD INDEX i{n} (total)",
    "ALTER TABLE notes MODIFY body mediumtext",
    "OPTIMIZE TABLE orders",
    "FLUSH BINARY LOGS",
    "ALTER TABLE notes RENAME TO notes_aside; ALTER TABLE notes_aside RENAME TO notes",
    "CREATE TABLE orders_new LIKE orders; INSERT INTO orders_new SELECT * FROM orders LIMIT 20;"
    " RENAME TABLE orders TO orders_old, orders_new TO orders; DROP TABLE orders_old",
    "TRUNCATE TABLE notes",
    "DELETE FROM orders WHERE id % 3 = 0",
    "ALTER TABLE orders DROP COLUMN status; ALTER TABLE orders ADD COLUMN status varchar(30) DEFAULT 'anew' AFTER id",
)


@pytest.mark.parametrize("seed", [1, *(pytest.param(seed, marks=pytest.mark.full) for seed in range(2, 8))])
def test_a_storm_of_definitions_ends_in_what_the_source_has(binlog_source: BinlogSource, seed: int) -> None:
    source, rng = open_shop(binlog_source), random.Random(seed)
    run = source.run(limits__snapshot_rows=15)
    run.until_marked()
    with load(source, seed, tolerant=True):
        for number in range(12):
            for statement in rng.choice(_SAFE).format(n=number, wide=30 + number).split(";"):
                source.execute("SET lock_wait_timeout = 20", statement)
            if rng.random() < 0.3:
                run.kill()
                run = source.run(limits__snapshot_rows=rng.choice((3, 15, 200)))
            run.until_marked()
    run.until_caught_up()
    run.terminate()

    source.verify()
    source.check_tables(source.history())
