"""The response extensions: pathsend, zerocopysend, trailers, early hints."""

from __future__ import annotations

import asyncio
import os
import urllib.parse

from app_tools import Application, Receive, Scope, Send, body, note, respond, start

app = Application()


def query(scope: Scope) -> dict[str, str]:
    return dict(urllib.parse.parse_qsl(scope["query_string"].decode(), keep_blank_values=True))


@app.handler
async def pathsend(scope: Scope, receive: Receive, send: Send) -> None:
    """path; length: the Content-Length to claim; key: where to note an error."""
    given = query(scope)
    headers = [(b"content-length", given["length"].encode())] if "length" in given else []
    await start(send, headers=headers)
    try:
        await send({"type": "http.response.pathsend", "path": given["path"]})
        note(given.get("key", ""), "sent")
    except Exception as error:
        note(given.get("key", ""), (type(error).__name__, isinstance(error, OSError), str(error)))
        raise


@app.handler
async def pathsend_or_404(scope: Scope, receive: Receive, send: Send) -> None:
    """A start is held back until the first piece, but it was given: only the connection can tell of an error."""
    given = query(scope)
    try:
        await start(send)
        await send({"type": "http.response.pathsend", "path": given["path"]})
    except FileNotFoundError:
        note(given["key"], "not found")
        raise


@app.handler
async def pathsend_misuse(scope: Scope, receive: Receive, send: Send) -> None:
    given = query(scope)
    kind = given["kind"]
    try:
        if kind == "before_start":
            await send({"type": "http.response.pathsend", "path": given["path"]})
        await start(send)
        if kind == "no_path":
            await send({"type": "http.response.pathsend"})
        elif kind == "path_is_bytes_nul":
            await send({"type": "http.response.pathsend", "path": "a\0b"})
        elif kind == "path_is_a_number":
            await send({"type": "http.response.pathsend", "path": 5})
        elif kind == "twice":
            await send({"type": "http.response.pathsend", "path": given["path"]})
            await send({"type": "http.response.pathsend", "path": given["path"]})
        elif kind == "body_after":
            await send({"type": "http.response.pathsend", "path": given["path"]})
            await body(send, b"more")
        note(given["key"], "no error")
    except Exception as error:
        note(given["key"], type(error).__name__)
        raise


@app.handler
async def deleted(scope: Scope, receive: Receive, send: Send) -> None:
    """The file is gone as soon as send() returned; the server must not depend on it."""
    path = query(scope)["path"]
    await start(send, headers=[(b"content-length", str(os.path.getsize(path)).encode())])
    await send({"type": "http.response.pathsend", "path": path})
    os.unlink(path)


@app.handler
async def zerocopysend(scope: Scope, receive: Receive, send: Send) -> None:
    """path, offset, count; the file is closed as soon as send() returned."""
    given = query(scope)
    await start(send, headers=[(b"x-a", b"b")])
    await body(send, b"before ", True)
    descriptor = os.open(given["path"], os.O_RDONLY)
    event: dict[str, object] = {"type": "http.response.zerocopysend", "file": descriptor, "more_body": True}
    if "offset" in given:
        event["offset"] = int(given["offset"])
    if "count" in given:
        event["count"] = int(given["count"])
    await send(event)
    os.close(descriptor)
    await body(send, b" after")


@app.handler
async def zerocopysend_file(scope: Scope, receive: Receive, send: Send) -> None:
    """A file object whose position is in the middle."""
    given = query(scope)
    with open(given["path"], "rb") as file:
        file.seek(5)
        await start(send)
        await send({"type": "http.response.zerocopysend", "file": file})
        note(given["key"], file.tell())


@app.handler
async def zerocopysend_misuse(scope: Scope, receive: Receive, send: Send) -> None:
    given = query(scope)
    events: dict[str, dict[str, object]] = {
        "closed": {"file": 9999},
        "none": {"file": None},
        "text": {"file": "name"},
        "negative_offset": {"file": os.open(given["path"], os.O_RDONLY), "offset": -1},
        "negative_count": {"file": os.open(given["path"], os.O_RDONLY), "count": -1},
        "missing": {},
    }
    await start(send)
    try:
        await send({"type": "http.response.zerocopysend", **events[given["kind"]]})
        note(given["key"], "no error")
    except Exception as error:
        note(given["key"], type(error).__name__)
        raise


@app.handler
async def trailers(scope: Scope, receive: Receive, send: Send) -> None:
    given = query(scope)
    headers = [(b"trailer", b"x-digest, x-count")]
    if "length" in given:
        headers.append((b"content-length", b"4"))
    await start(send, headers=headers, trailers=True)
    await body(send, b"body")
    if "wait" in given:
        await asyncio.sleep(0.05)
    await send({"type": "http.response.trailers", "headers": [(b"x-digest", b"abc")], "more_trailers": True})
    await send({"type": "http.response.trailers", "headers": [(b"x-count", b"1")]})


@app.handler
async def trailer_misuse(scope: Scope, receive: Receive, send: Send) -> None:
    given = query(scope)
    kind = given["kind"]
    fields = {
        "framing": (b"content-length", b"1"),
        "injection": (b"x-a", b"b\r\nx-injected: 1"),
        "text": ("x-a", "b"),
        "bad_name": (b"x a", b"b"),
    }
    try:
        await start(send, trailers=kind != "not_announced")
        await body(send, b"body")
        if kind == "body_after":
            await body(send, b"more")
        await send({"type": "http.response.trailers", "headers": [fields.get(kind, (b"x-a", b"b"))]})
        if kind == "twice":
            await send({"type": "http.response.trailers", "headers": []})
        note(given["key"], "no error")
    except Exception as error:
        note(given["key"], type(error).__name__)
        raise


@app.handler
async def trailers_forgotten(scope: Scope, receive: Receive, send: Send) -> None:
    await start(send, trailers=True)
    await body(send, b"body")


@app.handler
async def early_hint(scope: Scope, receive: Receive, send: Send) -> None:
    for link in (b"</a.css>; rel=preload; as=style", b"</b.js>; rel=preload; as=script"):
        await send({"type": "http.response.early_hint", "links": [link]})
    await send({"type": "http.response.early_hint", "links": [b"</c>; rel=preconnect", b"</d>; rel=preconnect"]})
    await asyncio.sleep(0.02)
    await respond(send, "hinted")


@app.handler
async def early_hint_misuse(scope: Scope, receive: Receive, send: Send) -> None:
    given = query(scope)
    kind = given["kind"]
    links: object = {"injection": [b"</a>\r\nx-injected: 1"], "text": ["</a>"], "number": 5}.get(kind, [b"</a>"])
    try:
        if kind == "after_start":
            await start(send)
            await body(send, b"some", True)
        event: dict[str, object] = {"type": "http.response.early_hint", "links": links}
        if kind == "missing":
            del event["links"]
        await send(event)
        note(given["key"], "no error")
    except Exception as error:
        note(given["key"], type(error).__name__)
        if kind == "after_start":
            raise
        await respond(send, "recovered")
