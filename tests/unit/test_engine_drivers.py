"""A source needs the driver of its own engine and no other."""

import subprocess
import sys

import pytest

_PROGRAM = """
import importlib, sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in sys.argv[1].split(","):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Missing())
for name in sys.argv[2:]:
    importlib.import_module(name)
"""
_COMMANDS = [f"cli.{name}" for name in "init doctor setup run status schema resume teardown fork".split()]
_BOTH = [*_COMMANDS, "source.engine", "doctor.examination", "worker.worker", "app_schemas.draft", "doctor.standing"]


@pytest.mark.parametrize(
    ("missing", "modules"),
    [
        (
            "psycopg,psycopg_binary,psycopg_pool,pymongo,bson",
            "worker.mysql doctor.mysql source.mysql.provision tail.mysql_catalog",
        ),
        ("pymysql,pymongo,bson", "worker.postgres doctor.diagnosis source.postgres_provision tail.catalog"),
        (
            "psycopg,psycopg_binary,psycopg_pool,pymysql",
            "worker.mongodb doctor.mongodb source.mongodb.provision source.mongodb.sampling tail.mongodb_catalog",
        ),
    ],
    ids=["mysql", "postgresql", "mongodb"],
)
def test_the_modules_of_an_engine_load_without_the_drivers_of_another(missing: str, modules: str) -> None:
    names = [f"commitlog.cdc.{name}" for name in [*_BOTH, *modules.split()]]

    run = subprocess.run([sys.executable, "-c", _PROGRAM, missing, *names], capture_output=True, text=True, timeout=50)

    assert run.returncode == 0, run.stderr
