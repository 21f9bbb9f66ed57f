"""What is raised when a server cannot be had, or does not do what it was told."""

from ...schemas.errors import CommitLogError

POSTGRES_URL_VARIABLE = "COMMITLOG_TEST_POSTGRES_URL"
MYSQL_URL_VARIABLE = "COMMITLOG_TEST_MYSQL_URL"
MARIADB_URL_VARIABLE = "COMMITLOG_TEST_MARIADB_URL"
MONGODB_URL_VARIABLE = "COMMITLOG_TEST_MONGODB_URL"
KAFKA_BOOTSTRAP_VARIABLE = "COMMITLOG_TEST_KAFKA_BOOTSTRAP"


class ServerFailed(CommitLogError):
    """A server could not be found, made, started or stopped.

    Args:
        step: What was being done, such as `initdb`.
        reason: What went wrong, with the last lines the program printed where it printed any.
        server: What could not be had.
        hint: The way on, where it is not a server of one's own.
    """

    exit_code = 5
    retry = "after_operator"

    def __init__(self, step: str, reason: str, *, server: str = "PostgreSQL", hint: str = "") -> None:
        super().__init__(
            f"a local {server} could not be provided, step {step}: {reason}",
            hint=hint
            or f"set {POSTGRES_URL_VARIABLE}=postgresql://… to a server of your own (wal_level=logical, a superuser)",
        )
        self.step = step
