"""FastAPI with an async pool: what a request writes carries the request's id into the database's own log.

    DATABASE_URL=postgresql://… uvicorn fastapi_notes:app

The middleware's `with` block covers the handler, a streamed response and background tasks. Starlette runs `def` handlers
in threads with the request's context. Startup and shutdown belong to no request.
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext

from fastapi import BackgroundTasks, FastAPI, WebSocket
from fastapi.responses import StreamingResponse

from commitlog.drivers import psycopg, session
from commitlog.drivers.asgi import CommitLogMiddleware
from commitlog.drivers.psycopg_pool import AsyncConnectionPool

pool = AsyncConnectionPool(os.environ["DATABASE_URL"], open=False)


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    async with pool:
        async with pool.connection() as conn:
            await conn.execute("CREATE TABLE note (id serial PRIMARY KEY, text text UNIQUE)")
            await conn.execute("INSERT INTO note (text) VALUES ('the first one')")
        yield


app = FastAPI(lifespan=lifespan)
app.add_middleware(CommitLogMiddleware)


@app.post("/notes")
async def add(text: str) -> str:
    async with pool.connection() as conn:
        await conn.execute("INSERT INTO note (text) VALUES (%s)", (text,))
    return text


@app.post("/notes/later")
async def add_later(text: str, tasks: BackgroundTasks) -> str:
    tasks.add_task(add, text)
    return text


@app.post("/notes/sync")
def add_in_a_thread(text: str) -> str:
    with psycopg.connect(os.environ["DATABASE_URL"]) as conn:
        conn.execute("INSERT INTO note (text) VALUES (%s)", (text,))
    return text


@app.get("/notes")
async def export(visitor: str) -> StreamingResponse:
    async def lines() -> AsyncIterator[str]:
        async with pool.connection() as conn:
            async with conn.cursor("notes") as cursor:
                await cursor.execute("SELECT text FROM note ORDER BY id")
                async for (text,) in cursor:
                    yield f"{text}\n"
            await conn.execute("INSERT INTO note (text) VALUES (%s)", (visitor,))

    return StreamingResponse(lines(), media_type="text/plain")


@app.websocket("/feed")
async def feed(socket: WebSocket) -> None:
    """A connection is one session, from its handshake's headers. A message may name itself, as in `id: text`."""
    await socket.accept()
    async for message in socket.iter_text():
        request, named, text = message.rpartition(": ")
        with session.bind(request=request) if named else nullcontext():
            await socket.send_text(await add(text))
