"""Django's ORM over the wrapped PyMySQL: each transaction with the tag of its session, whatever opened it."""

from collections.abc import Iterator

import django
import pytest
from django.conf import settings
from django.db import IntegrityError, connection, connections, models, transaction

from commitlog.drivers import pymysql, session
from fixtures.stamped import StampLog

if not settings.configured:
    settings.configure(
        DATABASES={"default": {"ENGINE": "commitlog.drivers.django.mysql", "NAME": "set by each test"}}, USE_TZ=True
    )
    django.setup()


class Paper(models.Model):
    """A table of the app."""

    text = models.CharField(max_length=20, unique=True)
    more = models.JSONField(null=True)
    at = models.DateTimeField(auto_now_add=True)

    class Meta:
        app_label = "papers"
        db_table = "paper"


@pytest.fixture
def log(stamp_log: StampLog, monkeypatch: pytest.MonkeyPatch) -> Iterator[StampLog]:
    """Django's one connection, to a database with the app's table. A write that cannot be tagged is an error."""
    monkeypatch.setattr(session, "_settings", session.Settings(None, None, None, "raise", None))
    given = stamp_log.options()
    before = dict(settings.DATABASES["default"])
    settings.DATABASES["default"].clear()
    settings.DATABASES["default"].update(
        ENGINE="commitlog.drivers.django.mysql",
        NAME=given["database"],
        USER=given["user"],
        PASSWORD=given["password"],
        HOST=given["host"],
        PORT=str(given["port"]),
    )
    connections.configure_settings(settings.DATABASES)
    connections["default"] = connections.create_connection("default")
    try:
        with connection.schema_editor() as editor:
            editor.create_model(Paper)
        stamp_log.read()
        yield stamp_log
    finally:
        connection.close()
        del connections["default"]
        settings.DATABASES["default"].clear()
        settings.DATABASES["default"].update(before)
        connections.configure_settings(settings.DATABASES)


def test_outside_of_a_block_every_query_is_a_transaction_with_its_tag(log: StampLog) -> None:
    with session.bind(request="alone"):
        paper = Paper.objects.create(text="a", more={"n": [1, None]})
        paper.text = "b"
        paper.save()
        assert Paper.objects.get().more == {"n": [1, None]}
        assert Paper.objects.filter(text="b").update(text="c") == 1
        assert paper.delete()[0] == 1
    Paper.objects.create(text="d")
    assert isinstance(connection.connection, pymysql.Connection)
    assert log.seen() == [(["alone"], "I"), (["alone"], "U"), (["alone"], "U"), (["alone"], "D"), ([], "I")]


def test_a_block_is_one_transaction_with_one_tag_and_its_savepoints_belong_to_it(log: StampLog) -> None:
    with session.bind(request="block"), transaction.atomic():
        Paper.objects.create(text="a")
        with pytest.raises(IntegrityError), transaction.atomic():
            Paper.objects.create(text="a")
        with transaction.atomic():
            Paper.objects.create(text="b")
    with session.bind(request="gone"), transaction.atomic():
        Paper.objects.create(text="c")
        transaction.set_rollback(True)
    with session.bind(request="read"), transaction.atomic():
        assert list(Paper.objects.select_for_update().values_list("text", flat=True).order_by("text")) == ["a", "b"]
    with session.bind(request="bulk"):
        Paper.objects.bulk_create([Paper(text=str(number)) for number in range(200)], batch_size=60)
        assert not Paper.objects.update_or_create(text="0", defaults={"text": "x"})[1]
        assert len(list(Paper.objects.iterator(chunk_size=10))) == 202
    assert log.seen() == [(["block"], "II"), (["bulk"], "I" * 200), (["bulk"], "U")]
