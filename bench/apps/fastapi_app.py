"""FastAPI endpoints that leave the first step: a `def` handler (thread pool) and a handler that awaits sleep(0)."""

from __future__ import annotations

import asyncio

from fastapi import FastAPI

app = FastAPI()


@app.get("/")
async def probe() -> dict[str, str]:
    return {"message": "ok"}


@app.get("/def")
def in_thread() -> dict[str, str]:
    return {"message": "Hello, world!"}


@app.get("/sleep0")
async def suspended() -> dict[str, str]:
    await asyncio.sleep(0)
    return {"message": "Hello, world!"}
