"""Single records of a log by their place, each checked whole."""

import orjson

from ...schemas.errors import RecordError, VerificationFailed
from ...schemas.record import Head, Record
from .home import LogReader
from .scan import Place


class Places:
    """Reads single records of a log by their place, and checks each of them whole, body and all.

    Args:
        reader: The log.
    """

    def __init__(self, reader: LogReader) -> None:
        self._location = reader.location
        self._lines = reader.lines()

    def line(self, place: Place) -> bytes:
        """The bytes of a record's line as they stand, line feed and all."""
        return self._lines.line(place)

    def record(self, place: Place, head: Head) -> Record:
        """The record that stands there.

        Args:
            place: Where.
            head: Its seq and hash, as they were when the place was found.

        Raises:
            VerificationFailed: What stands there is not that record, or is damaged.
        """
        try:
            record = Record.parse(self.line(place), orjson.loads)
        except RecordError as exc:
            raise RecordError(f"log {self._location}, record {head.seq}: {exc}", seq=head.seq, hint=exc.hint) from exc
        if record.head != head:
            raise VerificationFailed(f"log {self._location}: record {head.seq} is not what it was", seq=head.seq)
        record.check_tree()
        return record

    def close(self) -> None:
        """Let go of what was read last."""
        self._lines.close()
