"""Django's own MySQL backend, whose connections and cursors are the wrapped PyMySQL's.

Everything else is Django's: options, features, schema editor, introspection. Django imports MySQLdb by name, so the wrapped
PyMySQL stands in for it in the whole process, as `pymysql.install_as_MySQLdb()` has it; mysqlclient is not needed.
"""
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUntypedBaseClass=false, reportUnknownArgumentType=false

from __future__ import annotations

import sys

from django.core.exceptions import ImproperlyConfigured

from ... import pymysql

if sys.modules.get("MySQLdb", pymysql) is not pymysql:
    raise ImproperlyConfigured(
        "MySQLdb is imported already, and Django would use it in the place of commitlog.drivers.pymysql: "
        "name no other MySQL backend, or import commitlog.drivers.pymysql first and call its install_as_MySQLdb()"
    )
pymysql.install_as_MySQLdb()

from django.db.backends.mysql import base as plain  # noqa: E402 - it imports MySQLdb


class DatabaseWrapper(plain.DatabaseWrapper):  # type: ignore[misc] # Django is untyped
    """See `django.db.backends.mysql.base.DatabaseWrapper`."""

    Database = pymysql
