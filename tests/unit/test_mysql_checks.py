"""What is asked of a MySQL's tables, where these go or are made anew between two questions."""

from typing import Any, cast

import pytest

from commitlog.cdc.source.mysql.checks import check_key
from commitlog.cdc.tail.mysql_catalog import Catalog
from commitlog.schemas.errors import SchemaError
from commitlog.transforms.app_schema import Entity

ORDER = Entity("Order", ("shop", "orders"), ("id",), "", {})


class Asked:
    """A catalog that answers as a server does whose table changes meanwhile."""

    def __init__(self, keys: list[list[list[str]]], *, there: bool) -> None:
        self._keys, self._there = iter(keys), there

    def unique_keys(self, table: tuple[str, str]) -> list[list[str]]:
        return next(self._keys)

    def table(self, *name: str) -> Any:
        return ORDER if self._there else None


@pytest.mark.parametrize(
    ("keys", "there"), [([[["id"]]], True), ([[]], False), ([[], [["id"]]], True)], ids=["kept", "gone", "made-anew"]
)
def test_a_table_that_goes_while_it_is_asked_for_has_no_wrong_key(keys: list[list[list[str]]], there: bool) -> None:
    check_key(cast(Catalog, Asked(keys, there=there)), ORDER)


def test_a_key_that_the_server_does_not_keep_is_refused() -> None:
    with pytest.raises(SchemaError, match="does not keep it unique"):
        check_key(cast(Catalog, Asked([[["name"]], [["name"]]], there=True)), ORDER)
