"""What is made on a source before its stream can be read, whatever its engine."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator

from ...transforms.registry import Registry
from .step import Step


class Provision(ABC):
    """What is made on a source, and taken back. To be closed.

    Attributes:
        comment: What begins a comment in the language of the steps.
        leftover: What stays behind after `teardown_steps`, one sentence.
        nothing: What is not there where there is nothing to take back.
    """

    comment: str = "--"
    leftover: str
    nothing: str

    @abstractmethod
    def close(self) -> None:
        """Close all connections."""

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
    def execute(self, step: Step, *, say: Callable[[str], None]) -> None:
        """Do one step; `say` is told what is waited for. Raises Refused or Unreachable."""

    @abstractmethod
    def note_begin(self) -> None:
        """After the steps are done: see to it that a log which has not begun will have everything from here on. Raises Unreachable."""

    @abstractmethod
    def missing_tables(self, registry: Registry) -> Iterator[str]:
        """The tables that app schemas map and that do not exist, one sentence each."""
