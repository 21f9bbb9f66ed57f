"""Django's ORM over the wrapped psycopg: each transaction with the tag of its session, whatever opened it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import django
import psycopg as plain
import pytest
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.management import call_command
from django.db import IntegrityError, connection, connections, migrations, models, transaction
from django.db.migrations.executor import MigrationExecutor
from psycopg.conninfo import conninfo_to_dict

from commitlog.drivers import psycopg, session
from fixtures.tagged import TagLog

ENGINE = "commitlog.drivers.django.postgresql"

settings.configure(DATABASES={"default": {"ENGINE": ENGINE, "NAME": "set by each test"}}, USE_TZ=True)
django.setup()


class Note(models.Model):
    """A table of the app."""

    text = models.TextField(unique=True)
    more = models.JSONField(null=True)
    at = models.DateTimeField(auto_now_add=True)

    class Meta:
        app_label = "notes"
        db_table = "note"


@contextmanager
def database_of(url: str, **options: Any) -> Iterator[None]:
    """Have Django's one connection be to a database, with `OPTIONS` and other settings of it."""
    parts = conninfo_to_dict(url)
    given = {"NAME": parts["dbname"], "USER": parts["user"], "PASSWORD": parts["password"]}
    given |= {"HOST": parts["host"], "PORT": parts["port"], **options}
    before = dict(settings.DATABASES["default"])
    settings.DATABASES["default"].update(given)
    connections["default"] = connections.create_connection("default")
    try:
        yield
    finally:
        connection.close()
        connection.close_pool()
        del connections["default"]
        settings.DATABASES["default"].clear()
        settings.DATABASES["default"].update(before)


@pytest.fixture
def log(log: TagLog, monkeypatch: pytest.MonkeyPatch) -> TagLog:
    """One with the app's table. A write that cannot be tagged is an error in all of these tests."""
    monkeypatch.setattr(session, "_settings", session.Settings(None, None, None, "raise", None))
    with database_of(log.url), connection.schema_editor() as editor:
        editor.create_model(Note)
    log.read()
    return log


OPTIONS: dict[str, dict[str, Any]] = {
    "one connection": {},
    "pool": {"pool": True},
    "server-side binding": {"server_side_binding": True},
}


@pytest.fixture
def _connected(log: TagLog, request: pytest.FixtureRequest) -> Iterator[None]:
    with database_of(log.url, OPTIONS=OPTIONS[request.param]):
        yield


in_each_way = pytest.mark.parametrize("_connected", OPTIONS, indirect=True)
with_and_without_a_pool = pytest.mark.parametrize("_connected", ["one connection", "pool"], indirect=True)
in_djangos_default = pytest.mark.parametrize("_connected", ["one connection"], indirect=True)


@in_each_way
@pytest.mark.usefixtures("_connected")
def test_outside_of_a_block_every_query_is_a_transaction_with_its_tag(log: TagLog) -> None:
    with session.bind(request="alone"):
        note = Note.objects.create(text="a", more={"n": [1, None]})
        note.text = "b"
        note.save()
        assert Note.objects.get().more == {"n": [1, None]}
        assert Note.objects.filter(text="b").update(text="c") == 1
        assert note.delete()[0] == 1
    Note.objects.create(text="d")
    assert isinstance(connection.connection, psycopg.Connection)
    assert log.seen() == [(["alone"], "I"), (["alone"], "U"), (["alone"], "U"), (["alone"], "D"), ([], "I")]


@with_and_without_a_pool
@pytest.mark.usefixtures("_connected")
def test_a_block_is_one_transaction_with_one_tag_and_its_savepoints_belong_to_it(log: TagLog) -> None:
    later: list[str] = []

    def after() -> None:
        later.append(Note.objects.create(text="after").text)

    with session.bind(request="block"), transaction.atomic():
        Note.objects.create(text="a")
        with pytest.raises(IntegrityError), transaction.atomic():
            Note.objects.create(text="a")
        with transaction.atomic():
            Note.objects.create(text="b")
        transaction.on_commit(after)
        assert later == []
    with session.bind(request="gone"), transaction.atomic():
        Note.objects.create(text="c")
        transaction.set_rollback(True)
    with session.bind(request="read"), transaction.atomic():
        assert Note.objects.count() == 3
    assert log.seen() == [(["block"], "II"), (["block"], "I")]


@in_djangos_default
@pytest.mark.usefixtures("_connected")
def test_many_rows_and_what_the_orm_does_in_several_statements_are_one_transaction_each(log: TagLog) -> None:
    with session.bind(request="bulk"):
        notes = Note.objects.bulk_create([Note(text=str(number)) for number in range(500)], batch_size=200)
        assert len({note.pk for note in notes}) == 500
        Note.objects.bulk_update([Note(pk=note.pk, text=f"{note.text}!") for note in notes[:3]], ["text"])
        _, created = Note.objects.update_or_create(text="0!", defaults={"text": "x"})
        assert not created
        _, created = Note.objects.get_or_create(text="x")
        assert not created
    assert log.seen() == [(["bulk"], "I" * 500), (["bulk"], "UUU"), (["bulk"], "U")]


@in_each_way
@pytest.mark.usefixtures("_connected")
def test_iterator_reads_by_a_server_side_cursor_in_a_block_and_outside(log: TagLog) -> None:
    Note.objects.bulk_create([Note(text=str(number)) for number in range(10)])
    with session.bind(request="reader"):
        texts = []
        for note in Note.objects.order_by("pk").iterator(chunk_size=3):
            texts.append(note.text)
            if note.text in "37":
                Note.objects.filter(pk=note.pk).update(text=note.text + "!")
        with transaction.atomic():
            for note in Note.objects.order_by("pk").iterator(chunk_size=3):
                if note.text in "89":
                    note.delete()
    assert texts == [str(number) for number in range(10)]
    assert log.seen() == [([], "I" * 10), (["reader"], "U"), (["reader"], "U"), (["reader"], "DD")]


@in_each_way
@pytest.mark.usefixtures("_connected")
def test_cursors_of_the_app_tag_too(log: TagLog) -> None:
    with session.bind(request="raw"), connection.cursor() as cursor:
        cursor.execute("INSERT INTO item VALUES (%s, %s)", [1, "a"])
        cursor.executemany("INSERT INTO item VALUES (%s, %s)", [(2, "a"), (3, "a")])
        with cursor.copy("COPY item FROM STDIN") as copy:
            copy.write_row((4, "a"))
        with transaction.atomic():
            cursor.callproc("add_item", [5])
        cursor.execute("SELECT count(*) FROM item")
        assert cursor.fetchone() == (5,)
    assert log.seen() == [(["raw"], "I"), (["raw"], "II"), (["raw"], "I"), (["raw"], "I")]


def fill(apps: Any, schema_editor: Any) -> None:
    with schema_editor.connection.cursor() as cursor:
        cursor.execute("INSERT INTO item VALUES (1, 'migrated')")


class Filling(migrations.Migration):
    """A migration of data."""

    operations = (migrations.RunPython(fill),)


class Indexing(migrations.Migration):
    """One that refuses a transaction."""

    atomic = False
    operations = (migrations.RunSQL("CREATE INDEX CONCURRENTLY by_name ON item (name)"),)


@with_and_without_a_pool
@pytest.mark.usefixtures("_connected")
def test_a_migration_is_a_transaction_with_a_tag_and_one_without_a_block_works(log: TagLog) -> None:
    call_command("migrate", verbosity=0)
    executor = MigrationExecutor(connection)
    executor.recorder.ensure_schema()
    log.read()
    with session.bind(request="deploy"):
        state = executor.loader.project_state(())
        state = executor.apply_migration(state, Filling("0001", "notes"))
        executor.apply_migration(state, Indexing("0002", "notes"))
    assert [each for each in log.seen() if each[1]] == [(["deploy"], "II"), (["deploy"], "I")]
    with plain.connect(log.url) as conn:
        assert conn.execute("SELECT to_regclass('by_name') IS NOT NULL").fetchone() == (True,)


class ShopConnection(plain.Connection[Any]):
    """A connection class of an app."""


def test_a_pool_opened_by_a_request_belongs_to_none_and_its_connections_tag(log: TagLog) -> None:
    bound: list[session.Session | None] = []

    def reset(conn: Any) -> None:
        bound.append(session.current())

    options = {"min_size": 1, "max_size": 1, "reset": reset, "connection_class": ShopConnection}
    with database_of(log.url, CONN_HEALTH_CHECKS=True, OPTIONS={"pool": options}):
        with session.bind(request="opener"):
            Note.objects.create(text="a")
            first = connection.connection
            assert isinstance(first, ShopConnection)
            connection.set_autocommit(False)
            Note.objects.create(text="left open")
            connection.close()
        Note.objects.create(text="b")
        assert connection.connection is first
    assert bound[0] is None
    assert log.seen() == [(["opener"], "I"), ([], "I")]


def test_a_connection_that_was_lost_is_made_again_and_tags(log: TagLog) -> None:
    options = {"assume_role": "postgres", "isolation_level": psycopg.IsolationLevel.SERIALIZABLE}
    with database_of(log.url, CONN_MAX_AGE=60, CONN_HEALTH_CHECKS=True, OPTIONS=options):
        with session.bind(request="before"):
            Note.objects.create(text="a")
        with plain.connect(log.url, autocommit=True) as admin:
            admin.execute("SELECT pg_terminate_backend(%s, 20000)", (connection.connection.info.backend_pid,))
        connection.close_if_unusable_or_obsolete()
        connection.health_check_done = False
        with session.bind(request="after"):
            Note.objects.create(text="b")
    assert log.seen() == [(["before"], "I"), (["after"], "I")]


@pytest.mark.parametrize("pool", [False, True])
def test_djangos_test_runner_makes_and_drops_its_database(log: TagLog, pool: bool) -> None:
    with database_of(log.url, OPTIONS={"pool": pool}):
        name = connection.settings_dict["NAME"]
        made = connection.creation.create_test_db(verbosity=0, autoclobber=True)
        try:
            assert made == f"test_{name}"
            with connection.cursor() as cursor:
                cursor.execute("SELECT current_database()")
                assert cursor.fetchone() == (made,)
        finally:
            connection.creation.destroy_test_db(name, verbosity=0)


def test_a_pool_with_persistent_connections_is_refused_as_by_django(log: TagLog) -> None:
    with database_of(log.url, OPTIONS={"pool": True}):
        connection.settings_dict["CONN_MAX_AGE"] = 60
        with pytest.raises(ImproperlyConfigured):
            connection.ensure_connection()
        connection.settings_dict["CONN_MAX_AGE"] = 0
