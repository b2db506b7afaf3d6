from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from pyre.lifespan import Lifespan
from records import Records

App = Callable[[Any, Any, Any], Coroutine[Any, Any, None]]


async def whole(scope: Any, receive: Any, send: Any) -> None:
    assert (await receive())["type"] == "lifespan.startup"
    scope["state"]["database"] = "open"
    await send({"type": "lifespan.startup.complete"})
    assert (await receive())["type"] == "lifespan.shutdown"
    scope["state"]["database"] = "closed"
    await send({"type": "lifespan.shutdown.complete"})


async def unsupported(scope: Any, receive: Any, send: Any) -> None:
    raise ValueError("Django can only handle ASGI/HTTP connections, not lifespan.")


async def silent(scope: Any, receive: Any, send: Any) -> None:
    return None


async def start_fails(scope: Any, receive: Any, send: Any) -> None:
    await receive()
    await send({"type": "lifespan.startup.failed", "message": "no database"})
    raise RuntimeError("as Starlette does")


async def stop_fails(scope: Any, receive: Any, send: Any) -> None:
    await receive()
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await send({"type": "lifespan.shutdown.failed", "message": "cannot flush"})


async def exits(scope: Any, receive: Any, send: Any) -> None:
    raise SystemExit(9)


async def dies_after_start(scope: Any, receive: Any, send: Any) -> None:
    await receive()
    await send({"type": "lifespan.startup.complete"})
    raise RuntimeError("later")


def run(app: App, mode: Any) -> tuple[bool, bool, Lifespan]:
    async def main() -> tuple[bool, bool, Lifespan]:
        lifespan = Lifespan(app, mode)
        started = await lifespan.startup()
        await asyncio.sleep(0)
        stopped = await lifespan.shutdown()
        return started, stopped, lifespan

    return asyncio.run(asyncio.wait_for(main(), 10))


@pytest.mark.parametrize("mode", ["auto", "on"])
def test_start_and_stop_with_state(mode: str) -> None:
    started, stopped, lifespan = run(whole, mode)
    assert (started, stopped) == (True, True)
    assert lifespan.state == {"database": "closed"}


@pytest.mark.parametrize("app", [unsupported, silent, exits])
def test_auto_goes_on_without_a_lifespan(app: App) -> None:
    assert run(app, "auto")[0] is True


@pytest.mark.parametrize("app", [unsupported, exits])
def test_on_does_not_start_without_a_lifespan(app: App, records: Records) -> None:
    assert run(app, "on")[0] is False
    assert "Exception in 'lifespan' protocol" in records.text


def test_off_never_calls_the_application() -> None:
    assert run(exits, "off")[:2] == (True, True)


@pytest.mark.parametrize("mode", ["auto", "on"])
def test_a_reported_failure_ends_the_start(mode: str, records: Records) -> None:
    assert run(start_fails, mode)[0] is False
    assert "no database" in records.text
    assert "Exception" not in records.text


def test_a_failed_shutdown_is_reported(records: Records) -> None:
    assert run(stop_fails, "auto")[:2] == (True, False)
    assert "cannot flush" in records.text


def test_an_exception_after_the_start_is_logged(records: Records) -> None:
    assert run(dies_after_start, "auto")[0] is True
    assert "Exception in 'lifespan' protocol" in records.text


@pytest.mark.parametrize(
    "messages",
    [
        ["lifespan.shutdown.complete"],
        ["lifespan.startup.complete", "lifespan.startup.complete"],
        ["http.response.start"],
        ["lifespan.startup.maybe"],
    ],
    ids=" ".join,
)
def test_messages_out_of_order_raise_in_the_application(messages: list[str]) -> None:
    raised: list[BaseException] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        try:
            for kind in messages:
                await send({"type": kind})
        except RuntimeError as error:
            raised.append(error)

    run(app, "auto")
    assert len(raised) == 1


def test_abandon_ends_a_shutdown_that_hangs() -> None:
    async def hangs(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await asyncio.Event().wait()

    async def main() -> None:
        lifespan = Lifespan(hangs)
        assert await lifespan.startup()
        stopping = asyncio.ensure_future(lifespan.shutdown())
        await asyncio.sleep(0)
        lifespan.abandon()
        await asyncio.wait_for(stopping, 10)

    asyncio.run(main())
