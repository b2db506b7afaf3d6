"""The application's lifespan: https://asgi.readthedocs.io/en/latest/specs/lifespan.html"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any, Literal

from pyre.logging import TRACE

logger = logging.getLogger("pyre.error")

Mode = Literal["auto", "on", "off"]


class Lifespan:
    """Runs one application's lifespan on the running loop.

    In mode `auto` an application that raises before it answered the start-up (Django raises `ValueError`, for
    example) is taken to have no lifespan, and is served all the same; in `on` that is a failure; in `off` nothing is
    run.

    `state` is what the application puts into `scope["state"]`; each request gets a shallow copy.
    """

    def __init__(self, app: Callable[..., Any], mode: Mode = "auto", asgi_version: str = "3.0") -> None:
        self.app = app
        self.mode = mode
        self.asgi_version = asgi_version
        self.state: dict[str, Any] = {}
        self.failed = False
        """The application reported a failure, or raised instead of answering (in mode `auto`: the shut-down only)."""
        self._supported = mode != "off"
        self._stopping = False
        self._abandoned = False
        self._task: asyncio.Task[None] | None = None
        self._messages: asyncio.Queue[dict[str, str]] = asyncio.Queue()
        self._started = asyncio.Event()
        self._stopped = asyncio.Event()

    async def startup(self) -> bool:
        """Runs the start-up. False, after it was logged, if the server must not start."""
        if self.mode == "off":
            return True
        logger.info("Waiting for application startup.")
        self._messages.put_nowait({"type": "lifespan.startup"})
        self._task = asyncio.get_running_loop().create_task(self._main(), name="pyre.lifespan")
        if await self._failed_at(self._started):
            logger.error("Application startup failed. Exiting.")
            return False
        logger.info("Application startup complete.")
        return True

    async def shutdown(self) -> bool:
        """Runs the shut-down, if the application has a lifespan and is still in it. False if that failed."""
        if not self._supported or self._task is None or self.failed:
            return not self.failed
        logger.info("Waiting for application shutdown.")
        self._stopping = True
        self._messages.put_nowait({"type": "lifespan.shutdown"})
        if await self._failed_at(self._stopped):
            logger.error("Application shutdown failed. Exiting.")
            return False
        if self._abandoned:
            return False
        logger.info("Application shutdown complete.")
        return True

    def abandon(self) -> None:
        """Gives up waiting for the shut-down: cancels the application's lifespan task. What comes of that is of no
        interest: Starlette, for one, answers with `lifespan.shutdown.failed`."""
        self._abandoned = True
        if self._task is not None:
            self._task.cancel()
        self._stopped.set()

    async def _failed_at(self, event: asyncio.Event) -> bool:
        await event.wait()
        return self.failed

    async def _main(self) -> None:
        scope = {
            "type": "lifespan",
            "asgi": {"version": self.asgi_version, "spec_version": "2.0"},
            "state": self.state,
        }
        try:
            await self.app(scope, self._receive, self._send)
        except asyncio.CancelledError:
            raise
        except BaseException as error:
            # BaseException: an application that calls sys.exit() in its start-up must not take the loop down half-way.
            self._supported = False
            if self.failed or self._abandoned:
                return  # it raised after it had said *.failed, as Starlette does; the message is in the log
            if self.mode == "auto" and not self._started.is_set():
                logger.info("ASGI 'lifespan' protocol appears unsupported.")
                logger.log(TRACE, "The exception of the lifespan was:", exc_info=error)
            else:
                # Between its start and its stop the application serves requests: that its lifespan died does not end
                # that.
                self.failed = self._stopping or not self._started.is_set()
                logger.error("Exception in 'lifespan' protocol\n", exc_info=error)
        finally:
            self._started.set()
            self._stopped.set()

    async def _receive(self) -> dict[str, str]:
        return await self._messages.get()

    async def _send(self, message: dict[str, Any]) -> None:
        if self._abandoned:
            return
        kind = message["type"]
        phase, _, outcome = kind.removeprefix("lifespan.").partition(".")
        if (
            not kind.startswith("lifespan.")
            or phase not in ("startup", "shutdown")
            or outcome not in ("complete", "failed")
        ):
            raise RuntimeError(f"The lifespan got a message of the unknown type {kind!r}.")
        event = self._started if phase == "startup" else self._stopped
        if event.is_set() or (phase == "shutdown" and not self._started.is_set()):
            raise RuntimeError(f"The lifespan got {kind!r} out of order.")
        if outcome == "failed":
            self.failed = True
            if message.get("message"):
                logger.error(message["message"])
        event.set()
