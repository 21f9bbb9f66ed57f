"""Anything an app may do with sessions, requests, transactions and lone writes, at random: the oplog says who wrote what."""

import random
from contextlib import ExitStack
from typing import Any

import pytest
from pymongo import InsertOne, ReplaceOne
from pymongo.client_session import ClientSession
from pymongo.errors import PyMongoError

from commitlog.drivers import session
from fixtures.stamped_mongodb import Client, StampedOplog

REQUESTS = (None, "a", "b", "c")
STEPS = 60


class Play:
    """One game: what was written and stayed, by the number in the document, and whose it is."""

    def __init__(self, log: StampedOplog, seed: int) -> None:
        self.log = log
        self.random = random.Random(seed)
        self.client: Client = log.client(appname=log.name)
        self.items = self.client[log.name]["items"]
        self.sessions: list[ClientSession] = [self.client.start_session() for _ in range(2)]
        self.open: dict[int, tuple[str | None, list[int]] | None] = {}
        self.expected: dict[int, str | None] = {}
        self.number = 0

    def next(self) -> dict[str, Any]:
        self.number += 1
        return {"n": self.number}

    def step(self) -> None:
        request = self.random.choice(REQUESTS)
        place = self.random.randrange(2)
        with ExitStack() as bound:
            if request is not None:
                bound.enter_context(session.bind(request=request))
            if place == 2:
                self.write(request, None)
            elif not self.sessions[place].in_transaction:
                self.random.choice((self.begin, self.write_lone, self.write_lone))(place, request)
            else:
                self.random.choice((self.write_inside, self.write_inside, self.read_inside, self.end))(place, request)

    def begin(self, place: int, _: str | None) -> None:
        self.sessions[place].start_transaction()
        self.open[place] = None

    def write_lone(self, place: int, request: str | None) -> None:
        self.write(request, self.sessions[place])

    def write(self, request: str | None, of: ClientSession | None) -> None:
        """A write outside of transactions; sometimes the connection breaks, or the stamp is cut short."""
        trouble = self.random.random()
        if trouble < 0.1:
            self.log.fail("insert", closeConnection=True)
        elif trouble < 0.2:
            self.log.fail("update", namespace="commitlog.stamps", closeConnection=True)
        for document in self.insert(of):
            self.expected[document["n"]] = request
        self.log.fail_no_more()

    def insert(self, of: ClientSession | None) -> list[dict[str, Any]]:
        documents = [self.next() for _ in range(self.random.randrange(1, 4))]
        way = self.random.randrange(2)
        if way == 0:
            self.items.insert_many(documents, session=of)
        elif way == 1:
            self.items.bulk_write([InsertOne(document) for document in documents], session=of, ordered=False)
        else:
            writes = [ReplaceOne({"n": document["n"]}, document, upsert=True) for document in documents]
            self.items.bulk_write(writes, session=of)
        return documents

    def write_inside(self, place: int, request: str | None) -> None:
        first, numbers = self.open[place] or (request, [])
        self.open[place] = first, numbers
        numbers.extend(document["n"] for document in self.insert(self.sessions[place]))

    def read_inside(self, place: int, request: str | None) -> None:
        self.open[place] = self.open[place] or (request, [])
        self.items.find_one({}, session=self.sessions[place])

    def end(self, place: int, _: str | None) -> None:
        of, begun = self.sessions[place], self.open.pop(place)
        if self.random.random() < 0.3:
            of.abort_transaction()
            return
        trouble = self.random.random()
        if trouble < 0.3:
            self.log.fail("commitTransaction", times=self.random.randrange(1, 4), closeConnection=True)
        elif trouble < 0.4:
            self.log.fail("update", namespace="commitlog.stamps", closeConnection=True)
        while True:
            try:
                of.commit_transaction()
                break
            except PyMongoError as error:
                if not error.has_error_label("UnknownTransactionCommitResult"):
                    raise
        self.log.fail_no_more()
        for number in begun[1] if begun else []:
            self.expected[number] = begun[0] if begun else None

    def finish(self) -> None:
        for place, of in enumerate(self.sessions):
            if of.in_transaction:
                self.end(place, None)
            of.end_session()


def check(log: StampedOplog, seed: int) -> None:
    play = Play(log, seed)
    for _ in range(STEPS):
        play.step()
    play.finish()
    found = [(document["n"], logged.request) for logged in log.read() for document in logged.documents]
    assert dict(found) == play.expected
    assert len(found) == len(play.expected), "nothing is written twice"


@pytest.mark.parametrize("seed", range(2))
def test_the_oplog_says_who_wrote_what(stamped_oplog: StampedOplog, seed: int) -> None:
    with stamped_oplog.server.client() as admin:
        admin[stamped_oplog.name].create_collection("items")
    check(stamped_oplog, seed)


@pytest.mark.full
@pytest.mark.timeout(600)
def test_the_oplog_says_who_wrote_what_in_many_games(stamped_oplog: StampedOplog) -> None:
    with stamped_oplog.server.client() as admin:
        admin[stamped_oplog.name].create_collection("items")
    for seed in range(1000, 1050):
        check(stamped_oplog, seed)
