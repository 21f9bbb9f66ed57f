"""Several workers for one source, the log on Kafka: one leads, and the next takes over from one that is gone or stands still."""

import signal

import pytest

from fixtures.worker import Run, Source


def lead(source: Source) -> Run:
    """A worker that streams."""
    return source.run().streaming()


def queue(source: Source) -> Run:
    """A second worker, which waits for its turn."""
    run = source.run()
    run.until(lambda: "turn yet to write" in run.output, "the queue")
    return run


pytestmark = pytest.mark.timeout(150)  # a busy machine is no finding


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(signal.SIGSTOP, id="stands-still"),
        pytest.param(signal.SIGKILL, id="killed", marks=pytest.mark.full),
        pytest.param(signal.SIGTERM, id="ended", marks=pytest.mark.full),
    ],
)
def test_the_next_worker_takes_over_and_the_old_one_writes_nothing_more(
    kafka_source: Source, fault: signal.Signals
) -> None:
    source = kafka_source
    source.execute("CREATE TABLE item (id int PRIMARY KEY)")
    source.map("Item", "item")
    source.setup()
    first = lead(source)
    first.until_caught_up()
    second = queue(source)
    source.execute("INSERT INTO item VALUES (1)")
    assert "streaming" not in second.output

    first.signal(fault)
    source.execute("INSERT INTO item VALUES (2)")

    second.until_marked()
    assert "streaming" in second.output
    if fault == signal.SIGSTOP:
        head = source.history().records[-1][0]["seq"]
        first.signal(signal.SIGCONT)
        first.until(lambda: first.output.count("turn yet to write") or first.output.count("trying again"))
        source.execute("INSERT INTO item VALUES (3)")
        second.until_marked()
        assert source.history().records[-1][0]["seq"] > head
        first.kill()
    second.terminate()
    source.check()
