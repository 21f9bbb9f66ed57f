"""What is made on a source before its stream can be read, whatever its engine."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import Generic, Protocol, TypeVar

from ...transforms.registry import Registry
from ..config import Config
from .step import Step


class _Closed(Protocol):
    def close(self) -> None: ...


_Catalog = TypeVar("_Catalog", bound=_Closed)


class Provision(ABC, Generic[_Catalog]):
    """What is made on a source, and taken back. To be closed.

    Args:
        config: Whose source.
        catalog: A connection to it.

    Attributes:
        comment: What begins a comment in the language of the steps.
        leftover: What stays behind after `teardown_steps`, one sentence.
        nothing: What is not there where there is nothing to take back.
    """

    comment: str = "--"
    leftover: str
    nothing: str

    def __init__(self, config: Config, catalog: _Catalog) -> None:
        self.config, self.catalog = config, catalog

    def close(self) -> None:
        """Close all connections."""
        self.catalog.close()

    @abstractmethod
    def setup_steps(self, registry: Registry) -> list[Step]:
        """What is missing for the app schemas' tables to be tailed. Raises Refused or Unreachable."""

    @abstractmethod
    def grant_steps(self, registry: Registry, role: str) -> list[Step]:
        """What a role lacks to be the worker's."""

    @abstractmethod
    def app_steps(self, user: str) -> list[Step]:
        """What an app's role lacks to tag its transactions. Raises UsageError where none lacks anything."""

    @abstractmethod
    def teardown_steps(self) -> list[Step]:
        """What there is to take back."""

    @abstractmethod
    def execute(self, step: Step, *, say: Callable[[str], None] = lambda _: None) -> None:
        """Do one step; `say` is told what is waited for. Raises Refused or Unreachable."""

    def set_up(self, registry: Registry) -> Iterator[str]:
        """Do all `setup_steps`, and say of each that it is done. Raises Refused or Unreachable."""
        for step in self.setup_steps(registry):
            self.execute(step)
            yield f"done: {step.text}"

    @abstractmethod
    def note_begin(self) -> None:
        """After the steps are done: see to it that a log which has not begun will have everything from here on. Raises Unreachable."""

    @abstractmethod
    def missing_tables(self, registry: Registry) -> Iterator[str]:
        """The tables that app schemas map and that do not exist, one sentence each."""
