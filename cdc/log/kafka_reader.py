"""Reading a log on Kafka, from any process: up to the last message whose transaction has ended.

A topic may hold more than the log: what a writer that was fenced, or anybody else, put there. What does not continue the chain
and is not past its head is passed over and counted; what should continue it and does not stops the reader.
"""

import logging
import threading
from bisect import bisect_right
from collections import deque
from collections.abc import Iterator

from ...schemas.errors import HistoryLost, UsageError, VerificationFailed
from ...schemas.record import EMPTY, Head, Record
from .headfile import DurableHead
from .kafka_location import KafkaLocation
from .kafka_messages import Message, Messages
from .kafka_topic import Topic, check_whole
from .reading import Reading
from .scan import Place, Scanned
from .segment import segment_name

log = logging.getLogger("commitlog")

_WAIT_S = 0.1
_LOOK_EVERY = 50
"""Waits without news after which the broker is asked whether it is there at all."""

_NEAR_OFFSETS = 500
"""A record that stands this close is reached by reading on."""

_MARK_EVERY, _GIVEN, _TIP_OFFSETS = 1000, 4096, 64


class Acceptance:
    """The rule of acceptance (schemas/README.md §8), over messages in the order they stand in.

    Args:
        location: The log.
        head: The record before the first; None where that is not known.
        first: The seq of the first, where `head` is not known; None to begin with whichever comes.

    Attributes:
        head: The last record accepted, or the one before the first.
        began: Whether the first was accepted. What stands before it is left out in silence.
        passed: How many messages since then were passed over.
    """

    def __init__(self, location: KafkaLocation, head: Head | None, first: int | None = None) -> None:
        self.head = head
        self.began = False
        self.passed = 0
        self._first = first if head is None else head.seq + 1
        self._log = ""
        self._location = location

    @property
    def wanted(self) -> int | None:
        """The seq of the next record; None for whichever comes."""
        return self.head.seq + 1 if self.began and self.head else self._first

    def accepts(self, message: Message) -> bool:
        """Whether a message holds the next record, told by its first bytes. The record is still to be parsed and taken.

        Raises:
            VerificationFailed: The next record is missing, or is another than the one that was there.
        """
        link = message.link
        if link is None:
            return self._pass(message, "is not a record")
        log_id, seq, prev = link
        wanted = self.wanted
        if self._log and log_id != self._log:
            return self._pass(message, f"is of another log, {log_id}")
        if wanted is not None and seq < wanted:
            return self._pass(message, f"comes again or is a rival of record {seq}")
        if wanted is not None and seq > wanted:
            raise VerificationFailed(
                f"log {self._location}, offset {message.offset}: record {seq} stands where {wanted} must:"
                " records are missing",
                seq=wanted,
                hint="put back the topic from a copy",
            )
        if self.head is not None and prev != self.head.hash:
            raise VerificationFailed(
                f"log {self._location}, offset {message.offset}: record {seq} does not follow record {self.head.seq}:"
                f" its prev is {prev[:12]}…, that record's hash is {self.head.hash[:12]}…",
                seq=seq,
                hint="find out who else may write to the topic; put it back from a copy that verifies",
            )
        self._log = log_id
        return True

    def take(self, message: Message) -> Record:
        """The record of a message that was accepted, which is the head now.

        Raises:
            RecordError: It is damaged.
            UnknownFormat: It is newer than this code.
        """
        record = message.record(self._location)
        self.head, self.began = record.head, True
        return record

    def _pass(self, message: Message, what: str) -> bool:
        if self.began and not self.passed:
            log.warning("log %s: the message at offset %d %s, and is passed over", self._location, message.offset, what)
        self.passed += self.began
        return False


class KafkaReader(Reading[KafkaLocation]):
    """Reads one log on Kafka. Every record it gives follows the chain (schemas/README.md §8). Used by one thread.

    Args:
        location: The log.

    Attributes:
        location: The log.
        passed: How many messages the last reading passed over.
    """

    way_back = "its topic was made anew or cut: put it back from a copy"

    def __init__(self, location: KafkaLocation) -> None:
        self.location = location
        self._topic = Topic(location)
        self._idle: list[Messages] = []
        self._tip: _Tip | None = None
        self.passed = 0
        self._marks: list[tuple[int, int]] = []
        """(seq, offset) of some records, ascending."""
        self._given: deque[tuple[int, int]] = deque(maxlen=_GIVEN)
        """(seq, offset after it) of the records given last."""

    def durable(self) -> DurableHead:
        """The head, and the offset after it.

        Raises:
            UsageError: There is no such log.
            HistoryLost: It has lost its beginning, or was cut.
            Unreachable: The broker does not answer.
        """
        return self._tip_at(self._stable_end()).durable

    def last(self) -> Record | None:
        """The record of the head, None in an empty log. Raises what `durable` raises."""
        return self._tip_at(self._stable_end()).last

    def records(self, from_seq: int = 0, *, until: int | None = None, after: Head | None = None) -> Iterator[Record]:
        """As `Reader.records` of a log in a folder."""
        durable = self.durable()
        self.check_reach(durable, from_seq)
        last = durable.head.seq if until is None else min(until, durable.head.seq)
        if from_seq > last:
            return
        messages, rule = self._borrow(), self._rule(from_seq, after)
        try:
            for record in self._walk(messages, rule, durable.end):
                if record.seq == durable.head.seq and record.head != durable.head:
                    raise VerificationFailed(
                        f"log {self.location}: its head is {durable.head}, and in its place stands {record.head}",
                        seq=record.seq,
                    )
                yield record
                if record.seq >= last:
                    return
            raise VerificationFailed(f"log {self.location}: record {last} is not there", seq=last)
        finally:
            self.passed = rule.passed
            self._idle.append(messages)

    def follow(self, from_seq: int = 0, *, stop: threading.Event, after: Head | None = None) -> Iterator[Record]:
        """As `Reader.follow` of a log in a folder."""
        durable = self.wait(from_seq - 1, stop=stop)
        if durable is None:
            return
        messages = self._borrow()
        try:
            rule = self._rule(from_seq, after)
            for record in self._walk(messages, rule, durable.end):
                yield record
                if stop.is_set():
                    return
            waits = 0
            while not stop.is_set():
                batch = messages.take(_WAIT_S)
                yield from (self._give(rule, message) for message in batch if rule.accepts(message))
                waits = 0 if batch else waits + 1
                if waits % _LOOK_EVERY == _LOOK_EVERY - 1 and rule.head is not None:
                    durable = self.durable()
                    self.check_reach(durable, rule.head.seq + 1)
                    messages.ask_again(durable.end)
        finally:
            self._idle.append(messages)

    def wait(self, seq: int, *, stop: threading.Event) -> DurableHead | None:
        """Wait until the durable head is past `seq`; None when `stop` is set first.

        Raises:
            HistoryLost: The log ends before `seq`.
        """
        waits = 0
        durable = self.durable()
        while not stop.is_set():
            self.check_reach(durable, seq + 1)
            if durable.head.seq > seq:
                return durable
            tip = self._tip
            assert tip is not None
            waits = 0 if tip.take(_WAIT_S) else waits + 1
            durable = self.durable() if waits % _LOOK_EVERY == _LOOK_EVERY - 1 else tip.durable
        return None

    def scan(self, head: Head, place: Place, durable: DurableHead) -> Iterator[Scanned]:
        """As `scan.scan` of a log in a folder; places are offsets."""
        messages, chain = self._borrow(), Acceptance(self.location, head)
        messages.start(place.at)
        try:
            while batch := messages.next(durable.end):
                for message in batch:
                    if chain.accepts(message):
                        record = chain.take(message)
                        yield Scanned(record.seq, record.hash, 0, message.offset, 1, record.header, record.body_bytes)
            if chain.head != durable.head:
                raise VerificationFailed(
                    f"log {self.location}: it does not go on from record {head.seq} to its head {durable.head}",
                    seq=head.seq + 1,
                )
        finally:
            self._idle.append(messages)

    def lines(self) -> "KafkaReader":
        """Its lines by their places, as `scan` gives these: of another reader, to be closed by itself."""
        return KafkaReader(self.location)

    def line(self, place: Place) -> bytes:
        """The bytes of a record's line by its place, line feed and all."""
        messages = self._borrow()
        try:
            messages.start(place.at)
            for message in messages.next(place.at + 1):
                return message.value + b"\n"
            raise VerificationFailed(f"log {self.location}: there is no record at offset {place.at}")
        finally:
            self._idle.append(messages)

    def offset_after(self, seq: int) -> int | None:
        """The offset after a record that was given not long ago, or that is the head as last seen; None of any other."""
        tip = self._tip.durable if self._tip else None
        if tip is not None and tip.head.seq == seq:
            return tip.end
        return next((offset for given, offset in reversed(self._given) if given == seq), None)

    def close(self) -> None:
        """Close the connections."""
        for messages in [*self._idle, *([self._tip.messages] if self._tip else [])]:
            messages.close()
        self._idle, self._tip = [], None

    def _stable_end(self) -> int:
        try:
            return self._topic.stable_end()
        except HistoryLost as exc:
            if self._tip is not None:
                raise
            raise UsageError(f"there is no log {self.location}", hint="commitlog run creates it") from exc

    def _tip_at(self, stable: int) -> "_Tip":
        """The head, with everything before the offset `stable` taken in."""
        if self._tip is None or stable < self._tip.durable.end:
            lost = self._tip.durable if self._tip else None
            self._tip = self._find_tip(stable)
            if lost is not None and self._tip.durable.head.seq < lost.head.seq:
                raise self.cut(self._tip.durable.head.seq, lost.head.seq)
        self._tip.read_to(stable)
        return self._tip

    def _find_tip(self, stable: int) -> "_Tip":
        """The head, found by reading a little before the end, and more where that does not hold together."""
        first = self._topic.ends().first
        self._check_beginning(first, stable)
        span = _TIP_OFFSETS
        while True:
            start = max(first, stable - span)
            tip = _Tip(self._borrow(), Acceptance(self.location, EMPTY if start == first == 0 else None), start)
            try:
                tip.read_to(stable)
                if tip.durable.head != EMPTY or start == first:
                    return tip
            except VerificationFailed:
                # A rival may stand where we began: the chain before it says which one counts.
                if start == first:
                    raise
            self._idle.append(tip.messages)
            span *= 16

    def _check_beginning(self, first: int, stable: int) -> None:
        """Check that the log has its first record, where anything was removed from its topic."""
        if first == 0:
            return
        messages = self._borrow()
        try:
            messages.start(first)
            links = (message.link for message in messages.next(stable))
            check_whole(self.location, next((link[1] for link in links if link), 1))
        finally:
            self._idle.append(messages)

    def _rule(self, from_seq: int, after: Head | None) -> Acceptance:
        return Acceptance(self.location, EMPTY if from_seq == 0 else after, from_seq)

    def _walk(self, messages: Messages, rule: Acceptance, end: int) -> Iterator[Record]:
        """The records that a rule accepts, up to an offset."""
        near = self._near(rule.wanted or 0, messages, end)
        for start in dict.fromkeys((near, 0)):
            messages.start(start)
            try:
                while batch := messages.next(end):
                    for message in batch:
                        if rule.accepts(message):
                            record = self._give(rule, message)
                            self._mark(record.seq, message.offset)
                            yield record
            except VerificationFailed:
                if rule.began or start == 0:
                    raise
            if rule.began:
                return
            # A rival led astray: the chain from the beginning on says where the record stands.

    def _near(self, seq: int, messages: Messages, end: int) -> int:
        """An offset at or a little before the record `seq`. Every record takes an offset at least, so none stands earlier."""
        if seq == 0:
            return 0
        index = bisect_right(self._marks, (seq, end)) - 1
        low_seq, low = self._marks[index] if index >= 0 else (0, 0)
        high = self._marks[index + 1][1] if index + 1 < len(self._marks) else end
        while low_seq < seq and high - low > _NEAR_OFFSETS:
            middle = max(low + 1, (low + high) // 2)
            messages.start(middle)
            found = next(((m.link[1], m.offset) for m in messages.next(end, 1) if m.link), None)
            if found is None or found[0] > seq:
                high = middle
            else:
                low_seq, low = found
                self._mark(low_seq, low)
        return low

    def _give(self, rule: Acceptance, message: Message) -> Record:
        record = rule.take(message)
        self._given.append((record.seq, message.offset + 1))
        return record

    def _mark(self, seq: int, offset: int) -> None:
        index = bisect_right(self._marks, (seq, offset))
        before = self._marks[index - 1] if index else (-_MARK_EVERY, -1)
        after = self._marks[index] if index < len(self._marks) else (seq + _MARK_EVERY, offset + 1)
        if seq - before[0] >= _MARK_EVERY <= after[0] - seq and before[1] < offset < after[1]:
            self._marks.insert(index, (seq, offset))

    def _borrow(self) -> Messages:
        """A place in the topic that nobody else uses."""
        return self._idle.pop() if self._idle else Messages(self.location)


class _Tip:
    """The head of a log, kept up with what comes."""

    def __init__(self, messages: Messages, rule: Acceptance, start: int) -> None:
        self.messages = messages
        self.last: Record | None = None
        self._rule = rule
        self._end = start
        messages.start(start)

    @property
    def durable(self) -> DurableHead:
        """The head, and the offset up to which the topic was read."""
        return DurableHead(self._rule.head or EMPTY, segment_name(0), self._end)

    def read_to(self, end: int) -> None:
        """Take in everything before an offset."""
        while self._end < end:
            self._accept(self.messages.next(end))
            self._end = max(self._end, min(self.messages.at, end))

    def take(self, timeout_s: float) -> bool:
        """Take in what comes next; whether anything did."""
        found = self.messages.take(timeout_s)
        self._accept(found)
        self._end = max(self._end, self.messages.at)
        return bool(found)

    def _accept(self, batch: list[Message]) -> None:
        for message in batch:
            if self._rule.accepts(message):
                self.last = self._rule.take(message)
