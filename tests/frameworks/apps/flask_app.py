"""Served twice: as WSGI by the server itself, and by a2wsgi as an ASGI application."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

from a2wsgi import WSGIMiddleware
from flask import Flask, jsonify, request, send_file
from marks import MARKS, PIECES

app = Flask(__name__)


@app.get("/json")
def json() -> Any:
    return jsonify({"hello": "world"})


@app.get("/sync")
def sync() -> Any:
    return jsonify({"hello": "thread"})


@app.get("/items/<int:number>")
def item(number: int) -> Any:
    return jsonify({"number": number, "q": request.args.get("q", "")})


@app.post("/form")
def form() -> Any:
    return jsonify(request.form.to_dict())


@app.post("/echo")
def echo() -> Any:
    return request.get_data()


@app.get("/stream")
def stream() -> Any:
    def pieces() -> Iterator[str]:
        yield from PIECES

    return pieces()


@app.post("/background")
def background() -> Any:
    response = jsonify("accepted")
    response.call_on_close(lambda: MARKS.append("background"))
    return response


@app.get("/marks")
def marks() -> Any:
    return jsonify(MARKS)


@app.get("/error")
def error() -> Any:
    raise RuntimeError("an error of the application")


@app.get("/file")
def file() -> Any:
    return send_file(os.environ["SAMPLE_FILE"])


adapted = WSGIMiddleware(app)
