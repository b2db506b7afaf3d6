"""The sample that ./scripts/serve serves: FastAPI with an async and a sync endpoint, a body and a stream."""

import asyncio
from collections.abc import AsyncIterator

from fastapi import FastAPI
from fastapi.responses import StreamingResponse
from pydantic import BaseModel

app = FastAPI(title="Pyre sample")


class Item(BaseModel):
    name: str
    price: float = 0.0


@app.get("/")
async def hello() -> dict[str, str]:
    return {"hello": "world"}


@app.get("/items/{item_id}")
def read_item(item_id: int, q: str | None = None) -> dict[str, int | str | None]:
    """A plain ``def``: FastAPI runs it in its thread pool."""
    return {"item_id": item_id, "q": q}


@app.post("/items", status_code=201)
async def create_item(item: Item) -> Item:
    return item


@app.get("/clock")
async def clock(ticks: int = 5) -> StreamingResponse:
    """Server-sent events: one tick a second, ended early if the client goes away."""

    async def events() -> AsyncIterator[str]:
        for tick in range(ticks):
            yield f"data: {tick}\n\n"
            await asyncio.sleep(1)

    return StreamingResponse(events(), media_type="text/event-stream")
