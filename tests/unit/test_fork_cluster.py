"""What the errors of members of a cluster mean for a fork there: another member was first, or this one is cut off for a while."""

import pytest
from pymysql.err import MySQLError, OperationalError

from commitlog.cdc.fork.mysql.connection import Connected
from commitlog.cdc.fork.store import Again
from commitlog.schemas.errors import Refused, Unreachable


@pytest.mark.parametrize(
    ("error", "meaning"),
    [
        (OperationalError(1180, "Got error 149 - 'Lock deadlock; Retry transaction' during COMMIT"), Again),
        (OperationalError(1180, 'Got error 90 "Message too long" during COMMIT'), Refused),
        (OperationalError(3101, "Plugin instructed the server to rollback the current transaction."), Again),
        (OperationalError(1047, "WSREP has not yet prepared node for application use"), Unreachable),
    ],
)
def test_what_passes_is_tried_again(error: MySQLError, meaning: type[Exception]) -> None:
    with pytest.raises(meaning), Connected.__new__(Connected).translated():
        raise error
