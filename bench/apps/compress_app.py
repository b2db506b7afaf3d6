"""100 KB of JSON at /, 13 bytes at /small; with Starlette's GZipMiddleware around it for the peers."""

from __future__ import annotations

import json
import random
from typing import Any

from starlette.middleware.gzip import GZipMiddleware

_RANDOM = random.Random(7)
_WORDS = ["".join(_RANDOM.choices("etaoinshrdlucmfw", k=_RANDOM.randint(3, 9))) for _ in range(1000)]


def _row(number: int) -> dict[str, Any]:
    """As an API lists its users: most of it is names of fields and words, some is numbers."""
    return {
        "id": number,
        "name": " ".join(_RANDOM.choices(_WORDS, k=2)).title(),
        "email": f"{_RANDOM.choice(_WORDS)}@example.com",
        "balance": round(_RANDOM.random() * 1000, 2),
        "is_active": _RANDOM.random() < 0.5,
        "created_at": f"2026-{_RANDOM.randint(1, 12):02}-{_RANDOM.randint(1, 28):02}T12:00:00Z",
        "tags": _RANDOM.choices(_WORDS[:50], k=3),
    }


def _json() -> bytes:
    rows: list[dict[str, Any]] = []
    while len(json.dumps(rows)) < 100_000:
        rows.extend(_row(len(rows) + i) for i in range(20))
    return json.dumps(rows).encode()


_BODY = _json()
_SMALL = b"Hello, world!"


async def app(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        raise NotImplementedError
    body, kind = (_SMALL, b"text/plain") if scope["path"] == "/small" else (_BODY, b"application/json")
    length = str(len(body)).encode()
    headers = [(b"content-type", kind), (b"content-length", length)]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


gzip_6 = GZipMiddleware(app, compresslevel=6)
gzip_default = GZipMiddleware(app)
