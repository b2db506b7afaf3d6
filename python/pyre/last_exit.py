"""The end of a process that has threads which cannot be ended: `exit_beside_threads()`."""

from __future__ import annotations

import atexit
import faulthandler
import gc
import os
import sys
from typing import NoReturn

# Seconds for everybody's exit handlers. One may wait for a thread, or for a lock that a thread has which never gives it
# back; what most of them do, to write something out, takes less.
_HANDLERS = 10.0


def exit_beside_threads(error: BaseException | None) -> NoReturn:
    """Ends the process with the exit code that `error` would have given it, None being a return, after the handlers of
    `atexit` have run and the output is flushed.

    Not by way of the interpreter's own end: CPython 3.13 ends a thread that then comes back from a blocking call by
    unwinding its stack, C++ frames that let no exception through included, which aborts the process; and it waits for
    ever for one that is in C code that does not let go of the interpreter.
    """
    # If even this hangs, what ends it must not be Python: this is a thread of C, which says where everybody is first.
    faulthandler.dump_traceback_later(_HANDLERS, exit=True, file=2)
    gc.disable()  # a collection waits for every thread, as the import of a module of C does
    code = _report(error)
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (AttributeError, OSError, ValueError):  # None, broken, closed
            pass
    os._exit(code)


def _report(error: BaseException | None) -> int:
    if error is None:
        return 0
    if isinstance(error, SystemExit):
        if error.code is None or isinstance(error.code, int):
            return int(error.code or 0) & 0xFF
        print(error.code, file=sys.stderr)
        return 1
    sys.excepthook(type(error), error, error.__traceback__)
    return 1
