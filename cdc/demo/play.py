"""What the acts of the demo share: everything that runs, who wrote what, and what was measured."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from .follower import Seen
from .processes import await_true
from .screen import Screen
from .stage import Stage
from .user import Answer


@dataclass(frozen=True, slots=True)
class Steady:
    """What a reader of the log saw of a stretch of steady requests.

    Args:
        commits: Commits per second.
        rows: Rows per second.
        p50_ms: Median time to readable: from COMMIT, or from the request where the source notes COMMITs too coarsely.
        p99_ms: 99 of 100 were readable after so long.
    """

    commits: float
    rows: float
    p50_ms: float
    p99_ms: float

    @classmethod
    def measure(cls, seen: Iterable[Seen], since: float, until: float) -> "Steady":
        """Measure what was committed between two times, in seconds since 1970; at least one commit."""
        stretch = [commit for commit in seen if since <= commit.committed <= until]
        waits = sorted((commit.read - commit.committed) * 1000 for commit in stretch)
        seconds = until - since
        return cls(
            commits=len(stretch) / seconds,
            rows=sum(commit.rows for commit in stretch) / seconds,
            p50_ms=waits[len(waits) // 2],
            p99_ms=waits[len(waits) * 99 // 100],
        )


@dataclass(frozen=True, slots=True)
class Catchup:
    """What a reader saw of a backlog.

    Args:
        rows: Its rows.
        seconds: From its first row to its last.
    """

    rows: int
    seconds: float

    @classmethod
    def measure(cls, seen: Iterable[Seen], since: float, until: float, *, clock_s: float = 0.0) -> "Catchup":
        """Measure what was committed while nobody read, between two times in seconds since 1970.

        Args:
            seen: All that was read.
            since: When the reading ended.
            until: When it began again.
            clock_s: How coarse the times of the commits are, which are never later than the true ones.
        """
        missed = (commit for commit in seen if commit.read >= since)
        backlog = [commit for commit in missed if since <= commit.committed + clock_s <= until]
        reads = [commit.read for commit in backlog]
        return cls(sum(commit.rows for commit in backlog), max(reads) - min(reads))


def since_request(seen: Iterable[Seen], answers: Iterable[Answer]) -> Iterator[Seen]:
    """The commits of answered requests, as though each had been committed when its request was sent."""
    sent = {answer.request: answer.sent for answer in answers}
    return (replace(commit, committed=sent[commit.request]) for commit in seen if commit.request in sent)


@dataclass(slots=True)
class Play:
    """What the acts share.

    Args:
        stage: Everything that runs.
        screen: Where they speak.
        writes: The answers to every request that wrote, in all acts.
        order: The number of the order that act 4 looks at.
        total: Its total, as the log has it.
        fields: Of that order: field to the answer of the request that wrote it last.
        steady: What was measured of a stretch of steady requests.
        catchup: What was measured after the worker was away.
    """

    stage: Stage
    screen: Screen
    writes: list[Answer] = field(default_factory=list[Answer])
    order: int = 0
    total: str = ""
    fields: dict[str, Answer] = field(default_factory=dict[str, Answer])
    steady: Steady | None = None
    catchup: Catchup | None = None

    @property
    def log(self) -> str:
        """The log as commands in the demo's folder take it."""
        return self.stage.log

    def tell(self, answers: Sequence[Answer]) -> None:
        """Show requests that wrote, and keep their answers for later proofs."""
        self.writes += answers
        self.screen.gap()
        for answer in answers:
            self.screen.event(answer.user, answer.what)

    def await_logged(self, answers: Sequence[Answer], timeout_s: float = 20.0) -> None:
        """Wait until the log has the commits of requests.

        Raises:
            DemoFailed: It does not come to have them.
        """
        requests = self.stage.follower.requests
        await_true(
            f"the log has the {len(answers)} requests",
            lambda: all(answer.request in requests for answer in answers),
            processes=[self.stage.worker],
            timeout_s=timeout_s,
        )
