"""Django's own MySQL backend, whose connections are the wrapped mysqlclient's.

Everything else is Django's: options, features, schema editor, introspection. A process has either this one or
`commitlog.drivers.django.mysql`, where PyMySQL stands in for mysqlclient.
"""
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUntypedBaseClass=false, reportUnknownArgumentType=false

from __future__ import annotations

from typing import Any

from django.db.backends.mysql import base as plain
from django.utils.asyncio import async_unsafe

from ... import mysqlclient


class DatabaseWrapper(plain.DatabaseWrapper):  # type: ignore[misc] # Django is untyped
    """See `django.db.backends.mysql.base.DatabaseWrapper`."""

    Database = mysqlclient

    @async_unsafe  # type: ignore[untyped-decorator] # Django is untyped
    def get_new_connection(self, conn_params: dict[str, Any]) -> Any:
        connection = mysqlclient.connect(**conn_params)
        if connection.encoders.get(bytes) is bytes:  # as Django does: before mysqlclient 2.1 it does not work
            connection.encoders.pop(bytes)
        return connection
