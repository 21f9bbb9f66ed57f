"""What is raised when a server cannot be had, or does not do what it was told."""

from ...schemas.errors import CommitLogError

POSTGRES_URL_VARIABLE = "COMMITLOG_TEST_POSTGRES_URL"


class ServerFailed(CommitLogError):
    """A server could not be found, made, started or stopped.

    Args:
        step: What was being done, such as `initdb`.
        reason: What went wrong, with the last lines the program printed where it printed any.
    """

    exit_code = 5
    retry = "after_operator"

    def __init__(self, step: str, reason: str) -> None:
        super().__init__(
            f"a local PostgreSQL could not be provided, step {step}: {reason}",
            hint=f"set {POSTGRES_URL_VARIABLE}=postgresql://… to a server of your own (wal_level=logical, a superuser)",
        )
        self.step = step
