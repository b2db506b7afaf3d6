"""Starting, pinning, measuring and ending the processes of one benchmark run. Linux only: it reads /proc."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Self

TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
PR_SET_PDEATHSIG = 1
# How long a server may take to drain after SIGTERM before it is killed.
TERM_SECONDS = 5.0

_children: list[Child] = []


class BenchError(Exception):
    """A measurement that cannot be trusted; the message says what went wrong."""


@dataclass(frozen=True)
class Cores:
    """One core for the server and another for the load generator, so that neither pays for the other."""

    server: int
    client: int

    @staticmethod
    def choose(server: int | None = None, client: int | None = None) -> Cores:
        usable = sorted(os.sched_getaffinity(0))
        if len(usable) < 2:
            raise BenchError("two cores are needed: one for the server, one for the load generator")
        cores = Cores(usable[0] if server is None else server, usable[1] if client is None else client)
        if cores.server == cores.client or not {cores.server, cores.client} <= set(usable):
            raise BenchError(f"the cores {cores.server} and {cores.client} are not two usable ones of {usable}")
        return cores


def raise_file_limit() -> int:
    """Raise RLIMIT_NOFILE as far as this user may; children inherit it. Returns the limit that holds."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    for wanted in (max(hard, 131_072), hard):
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, wanted))
            return wanted
        except (ValueError, OSError):
            continue
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def _child_setup(core: int | None) -> Callable[[], None]:
    libc = ctypes.CDLL(None, use_errno=True)

    def setup() -> None:
        if core is not None:
            os.sched_setaffinity(0, {core})
        # If the harness itself is killed without a chance to clean up, its children end with it.
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)

    return setup


class Child:
    """A process with its output in files, pinned to one core (None: to none), and ended with all its descendants."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        core: int | None,
        log: Path,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        pipes: bool = False,
    ) -> None:
        self.command = list(command)
        self.log = log
        with log.open("ab") as output:
            self.popen = subprocess.Popen(
                self.command,
                stdin=subprocess.PIPE if pipes else subprocess.DEVNULL,
                stdout=subprocess.PIPE if pipes else output,
                stderr=output,
                env=dict(env) if env is not None else None,
                cwd=cwd,
                preexec_fn=_child_setup(core),
                start_new_session=True,
            )
        _children.append(self)

    @property
    def pid(self) -> int:
        return self.popen.pid

    @property
    def stdin(self) -> IO[bytes]:
        assert self.popen.stdin is not None
        return self.popen.stdin

    @property
    def stdout(self) -> IO[bytes]:
        assert self.popen.stdout is not None
        return self.popen.stdout

    def alive(self) -> bool:
        return self.popen.poll() is None

    def log_tail(self, lines: int = 12) -> str:
        try:
            return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])
        except OSError:
            return ""

    def end(self) -> None:
        """SIGTERM to the parent, up to TERM_SECONDS of patience, then SIGKILL for each pid of its tree that is left."""
        pids = {pid: _start_time(pid) for pid in process_tree(self.pid)} if self.alive() else {}
        if self.alive():
            self.popen.terminate()
            try:
                self.popen.wait(TERM_SECONDS)
            except subprocess.TimeoutExpired:
                self.popen.kill()
                self.popen.wait(TERM_SECONDS)
        for pid, started in pids.items():
            # The start time guards against a pid that was given to somebody else in the meantime.
            if started is not None and pid != self.pid and _start_time(pid) == started:
                os.kill(pid, signal.SIGKILL)
        for pipe in (self.popen.stdin, self.popen.stdout):
            if pipe is not None:
                try:
                    pipe.close()
                except OSError:
                    pass
        if self in _children:
            _children.remove(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()


def end_all() -> None:
    """End whatever is still running; for the last `finally` of the program."""
    for child in list(_children):
        child.end()


def _stat_fields(pid: int) -> list[str] | None:
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    # The command name may hold spaces and parentheses; the fields after the last one are regular, from field 3 on.
    return text[text.rindex(")") + 2 :].split()


def _start_time(pid: int) -> str | None:
    fields = _stat_fields(pid)
    return fields[19] if fields else None


def process_tree(root: int) -> list[int]:
    """The pid and all its living descendants."""
    children: dict[int, list[int]] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit() and (fields := _stat_fields(int(entry))) is not None:
            children.setdefault(int(fields[1]), []).append(int(entry))
    tree = [root]
    for pid in tree:
        tree.extend(children.get(pid, []))
    return tree


def cpu_seconds(pids: Sequence[int]) -> float:
    """User plus system time of these processes and of their children that have already been waited for.

    /proc/<pid>/stat counts in ticks of 10 ms, which is 5 % of a short run; the process's CPU clock is the same
    account in nanoseconds.
    """
    total = 0.0
    for pid in pids:
        if (fields := _stat_fields(pid)) is None:
            continue
        user, system, waited_user, waited_system = (int(field) / TICKS_PER_SECOND for field in fields[11:15])
        try:
            # What clock_getcpuclockid(3) returns for a process: ~pid, shifted past the clock type "scheduler" (2).
            own = time.clock_gettime((~pid << 3) | 2)
        except OSError:
            own = user + system
        total += own + waited_user + waited_system
    return total


def resident_bytes(pids: Sequence[int]) -> int:
    total = 0
    for pid in pids:
        if (fields := _stat_fields(pid)) is not None:
            total += int(fields[21]) * PAGE_BYTES
    return total


def open_files(pids: Sequence[int]) -> int:
    total = 0
    for pid in pids:
        try:
            total += len(os.listdir(f"/proc/{pid}/fd"))
        except OSError:
            continue
    return total


def core_busy_seconds(core: int) -> float:
    """How long the core has worked for anyone (time that the hypervisor stole counts as work for somebody else)."""
    for line in Path("/proc/stat").read_text().splitlines():
        fields = line.split()
        if fields[0] == f"cpu{core}":
            user, nice, system, _idle, _iowait, irq, softirq, steal = (int(field) for field in fields[1:9])
            return (user + nice + system + irq + softirq + steal) / TICKS_PER_SECOND
    raise BenchError(f"/proc/stat knows no cpu{core}")


class Window:
    """CPU time of a server's tree, and everybody else's share of both cores, from construction to close().

    ``spread``: the server is not pinned, so that only the share of both cores together can be told.

    The share of others is what makes latency untrustworthy: it is how a round is called quiet or not. CPU time per
    request hardly notices it.
    """

    def __init__(self, server: Child, cores: Cores, *, spread: bool = False) -> None:
        self._server = server
        self._spread = spread
        self._cores = cores
        self._pids = process_tree(server.pid)
        self._client_cpu = self._children_cpu()
        self._busy = {core: core_busy_seconds(core) for core in (cores.server, cores.client)}
        self._cpu = cpu_seconds(self._pids)
        self._started = time.monotonic()

    @staticmethod
    def _children_cpu() -> float:
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        return usage.ru_utime + usage.ru_stime

    def close(self) -> None:
        self.wall = time.monotonic() - self._started
        pids = sorted(set(self._pids) | set(process_tree(self._server.pid)))
        self.cpu = cpu_seconds(pids) - self._cpu
        mine = {self._cores.server: self.cpu, self._cores.client: self._children_cpu() - self._client_cpu}
        others = [core_busy_seconds(core) - before - mine[core] for core, before in self._busy.items()]
        if self._spread:
            others = [sum(others) / len(others)]
        self.foreign_share = max(0.0, *(seconds / self.wall for seconds in others), 0.0)
