"""Which app schema holds for a commit."""

import json
import time
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from commitlog.schemas.errors import SchemaError
from commitlog.transforms.app_schema import AppSchema
from commitlog.transforms.app_schema_reader import parse
from commitlog.transforms.registry import Registry


def schema(
    *builds: str,
    default: bool = False,
    strict: bool = False,
    app: str = "shop",
    table: str = "orders",
    database: str = "main",
) -> AppSchema:
    fields = {"id": {"class": "public"}, f"of_{len(builds)}_{'_'.join(builds)}": {"class": "public"}}
    return parse(
        {
            "schema": "commitlog.app/v1",
            "app": app,
            "database": database,
            "builds": list(builds),
            "default": default,
            "strict": strict,
            "entities": {table: {"from": f"public.{table}", "key": ["id"], "fields": fields}},
        },
        origin=f"{app}-{'-'.join(builds) or 'default'}.yaml",
    )


OLD = schema("sha256:aa", "1.3.*")
NEW = schema("sha256:bb", "1.4.*", "1.4.2")
DEFAULT = schema(default=True)


@pytest.mark.parametrize("order", list(permutations([OLD, NEW, DEFAULT])))
def test_exact_build_goes_before_version_glob_before_default(order: tuple[AppSchema, ...]) -> None:
    registry = Registry(order)
    assert registry.resolve("sha256:aa", "1.4.7") == (OLD, "build")
    assert registry.resolve("1.4.2", "1.3.0") == (NEW, "build")
    assert registry.resolve("sha256:zz", "1.3.0") == (OLD, "version")
    assert registry.resolve("", "1.4.7") == (NEW, "version")
    assert registry.resolve("sha256:zz", "2.0") == (DEFAULT, "default")
    assert registry.resolve() == (DEFAULT, "default")
    assert registry.resolve("SHA256:AA") == (DEFAULT, "default")


def test_a_build_id_is_not_a_glob() -> None:
    assert Registry([schema("sha256:*")]).resolve("sha256:aa") is None


def test_without_a_default_an_unknown_build_and_an_untagged_write_have_no_schema() -> None:
    registry = Registry([OLD, NEW])
    assert registry.resolve("sha256:zz") is None
    assert registry.resolve() is None
    assert not registry.strict


def test_strict_lets_unknown_builds_wait_but_not_untagged_writes() -> None:
    default = schema(default=True, strict=True)
    registry = Registry([OLD, default])
    assert registry.strict
    assert registry.resolve("sha256:zz") is None
    assert registry.resolve("", "9.9") is None
    assert registry.resolve("", "1.3.9") == (OLD, "version")
    assert registry.resolve() == (default, "default")


def test_the_longest_glob_is_the_most_specific() -> None:
    wide, narrow = schema("1.*"), schema("1.4.*")
    assert (
        Registry([wide, narrow]).resolve("", "1.4.1")
        == Registry([narrow, wide]).resolve("", "1.4.1")
        == (narrow, "version")
    )
    assert Registry([wide, narrow]).resolve("", "1.5.1") == (wide, "version")


def test_two_defaults_are_refused_by_their_files() -> None:
    with pytest.raises(SchemaError, match=r"shop-default\.yaml and shop-x\.yaml are both the default"):
        Registry([DEFAULT, schema("x", default=True)])


def test_two_schemas_of_one_build_are_refused() -> None:
    with pytest.raises(SchemaError, match=r"both name the build 1\.3\.\*"):
        Registry([OLD, schema("1.3.*")])


def test_the_same_schema_in_two_files_is_one() -> None:
    assert Registry([OLD, parse(json.loads(OLD.data))]).schemas == (OLD,)


def test_schemas_of_two_databases_are_refused() -> None:
    with pytest.raises(SchemaError, match=r"of the database main, .* of audit"):
        Registry([OLD, schema("b", database="audit")])


def test_s3_two_apps_cannot_claim_one_table() -> None:
    with pytest.raises(SchemaError, match=r"public\.orders is claimed by shop .* and by billing"):
        Registry([OLD, schema("b", app="billing")])


def test_with_two_apps_a_version_counts_for_its_app_only() -> None:
    billing = schema("1.*", app="billing", table="invoices")
    registry = Registry([OLD, billing, DEFAULT])
    assert registry.resolve("", "1.3.0", "billing") == (billing, "version")
    assert registry.resolve("", "1.3.0", "shop") == (OLD, "version")
    assert registry.resolve("", "1.9.0", "shop") == (DEFAULT, "default")
    assert registry.resolve("", "1.3.0") == (DEFAULT, "default")
    assert registry.resolve("sha256:aa", "", "other") == (OLD, "build")
    assert Registry([OLD]).resolve("", "1.3.0", "shop-web") == (OLD, "version")


@given(st.lists(st.tuples(st.sampled_from(["", "sha256:aa", "b"]), st.text(max_size=4)), max_size=50))
def test_a_remembered_answer_is_the_answer(asked: list[tuple[str, str]]) -> None:
    registry = Registry([OLD, NEW, DEFAULT])
    for build, version in asked * 2:
        assert registry.resolve(build, version) == Registry([OLD, NEW, DEFAULT]).resolve(build, version)


def test_strangers_builds_do_not_fill_the_memory_and_a_known_answer_is_fast() -> None:
    registry = Registry([OLD, NEW, DEFAULT])
    for number in range(10_000):
        assert registry.resolve(f"sha256:{number}") == (DEFAULT, "default")
    assert len(registry._cache) <= 4096
    begun = time.perf_counter()
    for _ in range(20_000):
        registry.resolve("sha256:aa", "1.3.1", "shop")
    assert (time.perf_counter() - begun) / 20_000 < 5e-6
