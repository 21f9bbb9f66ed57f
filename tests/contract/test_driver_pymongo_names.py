"""Every name of the installed pymongo is under the wrapper, in the same submodule: pymongo's own, or ours that tags."""

import importlib
import inspect
import pkgutil
import re
from pathlib import Path

import pymongo as plain
import pymongo.asynchronous.mongo_client
import pytest

import commitlog.drivers.pymongo as ours

NAMES = sorted(
    info.name.partition(".")[2]
    for info in pkgutil.walk_packages(plain.__path__, "pymongo.")
    if not any(part.startswith("_") for part in info.name.split("."))
)
"""The public submodules: `errors`, `synchronous.collection`, …"""

FOLDER = Path(ours.__file__).parent
TAGGING = {"MongoClient", "AsyncMongoClient"}
WITH_FILES = {
    "asynchronous",
    "asynchronous.mongo_client",
    "mongo_client",
    "synchronous",
    "synchronous.mongo_client",
}


@pytest.mark.parametrize("name", NAMES)
def test_every_submodule_is_there_with_every_public_name(name: str) -> None:
    try:
        theirs = importlib.import_module(f"pymongo.{name}")
    except ModuleNotFoundError as missing:  # what it needs is not installed
        with pytest.raises(ModuleNotFoundError, match=str(missing)):
            importlib.import_module(f"commitlog.drivers.pymongo.{name}")
        return
    own = importlib.import_module(f"commitlog.drivers.pymongo.{name}")
    if name not in WITH_FILES:
        assert own is theirs, "a second copy of a module has classes that no `isinstance` and no `except` knows"
        assert (FOLDER / (name.replace(".", "/") + ".pyi")).is_file()
        return
    for attribute in (attribute for attribute in vars(theirs) if not attribute.startswith("__")):
        original, stands_in = getattr(theirs, attribute), getattr(own, attribute)
        if attribute in TAGGING:
            assert stands_in is not original
            assert issubclass(stands_in, original)
        elif not (inspect.ismodule(original) and f"{name}.{attribute}" in WITH_FILES):
            assert stands_in is original


def test_every_public_name_is_there() -> None:
    for name in {*plain.__all__, *(name for name in vars(plain) if not name.startswith("_"))}:
        original, stands_in = getattr(plain, name), getattr(ours, name)
        if name in TAGGING:
            assert issubclass(stands_in, original)
        elif name not in WITH_FILES:
            assert stands_in is original, name
    assert set(plain.__all__) < set(ours.__all__)
    assert ours.MongoClient is ours.mongo_client.MongoClient is ours.synchronous.mongo_client.MongoClient
    assert ours.AsyncMongoClient is ours.asynchronous.mongo_client.AsyncMongoClient


@pytest.mark.parametrize("name", sorted(TAGGING))
def test_a_client_shows_itself_and_refuses_as_pymongos_does(name: str) -> None:
    theirs, own = getattr(plain, name), getattr(ours, name)
    said = [repr(client("mongodb://localhost:1", connect=False)) for client in (theirs, own)]
    assert said[0] == said[1]
    for wrong in ({"nosuchoption": 1}, {"maxPoolSize": "x"}):
        with pytest.raises(plain.errors.ConfigurationError if "nosuchoption" in wrong else ValueError) as refused:
            theirs(connect=False, **wrong)
        with pytest.raises(type(refused.value), match=re.escape(str(refused.value))):
            own(connect=False, **wrong)
    with pytest.raises(ValueError, match="lone_writes"):
        own(connect=False, lone_writes="both")
