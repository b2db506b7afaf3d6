"""Free-threaded Python: how several event loops start and end together, also when one of them does not."""

from __future__ import annotations

import json
import select
import signal
from pathlib import Path

import pytest
from on_loops import FREE_THREADED, TWO, ask, on_each_loop, where, wires
from serving import HANG_GUARD, Server, Servers, StartError, wait_until

pytestmark = FREE_THREADED


def server_hangs(lifespan_file: Path) -> None:
    wait_until(lifespan_file.with_suffix(".hanging").exists)


def pending(server: Server) -> bool:
    """A signal of the process waits for a thread to take it."""
    status = Path(f"/proc/{server.pid}/status").read_text()
    return any(line.startswith("ShdPnd:") and int(line.split()[1], 16) for line in status.splitlines())


def test_every_loop_finishes_what_it_runs(servers: Servers, lifespan_file: Path) -> None:
    with servers.private("loops:with_state", *TWO) as server:
        with wires(server, 4) as several:
            for wire in several:
                wire.request("GET", "/doze")
            assert set(server.wait_for_note("doze", lambda noted: len(noted) == 4)) == {"pyre.loop-0", "pyre.loop-1"}
            with server.connect() as idle:
                where(idle)
                server.tell_to_stop()
                assert idle.rest() == b""  # closed
            assert "shutdown" not in lifespan_file.read_text()
            lifespan_file.with_suffix(".release").touch()
            assert [wire.response().text for wire in several] == ["dozed"] * 4
        assert server.wait() == 0
        assert lifespan_file.read_text().split()[2:] == ["shutdown"] * 2


def test_a_second_signal_cuts_what_runs_on_every_loop(servers: Servers, lifespan_file: Path) -> None:
    with servers.private("loops:with_state", *TWO) as server, wires(server, 4) as several:
        for wire in several:
            wire.request("GET", "/doze")
        server.wait_for_note("doze", lambda noted: len(noted) == 4)
        server.process.send_signal(signal.SIGTERM)
        server.wait_for_output("Waiting for connections to close")
        server.process.send_signal(signal.SIGTERM)
        assert server.wait() == 0
        assert lifespan_file.read_text().split()[2:] == ["shutdown"] * 2
        assert server.output().count("told to hurry") == 2


def test_a_loop_whose_startup_fails_ends_the_others(
    servers: Servers, lifespan_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAIL", "later")
    with pytest.raises(StartError) as failed:
        with servers.private("loops:with_state", *TWO, "--lifespan", "on"):
            pass
    assert failed.value.exit_code == 3
    assert "this loop cannot start" in failed.value.output
    assert lifespan_file.read_text().split() == ["startup", "startup", "shutdown"]


@pytest.mark.parametrize("how", ["sleep", "naps", "spin", "regex"])
def test_a_thread_that_never_comes_back_does_not_keep_the_others(
    servers: Servers, lifespan_file: Path, how: str
) -> None:
    with servers.private("loops:with_state", *TWO, "--timeout-graceful-shutdown", "1") as server:
        with on_each_loop(server) as (one, other), wires(server, 2) as late:
            one.request("GET", f"/hang/{how}")
            server_hangs(lifespan_file)
            assert where(other)["gil"] is False
            # Two more: one for each loop. Accepting does not wait for the one that hangs.
            for wire in late:
                wire.request("GET", "/where")
            readable, _, _ = select.select([wire.socket for wire in late], [], [], HANG_GUARD)
            (served,) = (wire for wire in late if wire.socket in readable)
            assert json.loads(served.response().text)["thread"] == "pyre.loop-1"
            assert all(wire.quiet() for wire in late if wire is not served)
            server.tell_to_stop()
            assert server.wait() == 0
        assert "thread pyre.loop-0 back; it is left behind" in server.output()
        assert '"GET /where HTTP/1.1" 200' in server.output()  # the log is written out
        # of the one that can
        assert lifespan_file.read_text().split()[2:] == ["shutdown", "atexit"]


def test_a_thread_that_hangs_at_its_very_end_is_left_behind(servers: Servers, lifespan_file: Path) -> None:
    with servers.private("loops:with_state", *TWO) as server, wires(server, 1) as (wire,):
        assert ask(wire, "/hang_when_cancelled") == "later"
        server.tell_to_stop()
        assert server.wait() == 0
        assert server.output().count("left behind") == 1
        assert lifespan_file.read_text().split()[2:] == ["shutdown"] * 2


def test_a_third_signal_leaves_a_thread_behind_that_hangs_in_its_shutdown(
    servers: Servers, lifespan_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAIL", "hang in shutdown")
    with servers.private("loops:with_state", *TWO) as server:
        server.process.send_signal(signal.SIGTERM)
        server_hangs(lifespan_file)
        for number in (2, 3):  # one after the other: two of a kind that wait are one
            server.process.send_signal(signal.SIGTERM)
            if number == 2:
                wait_until(lambda: not pending(server))
        assert server.wait() == 0
        assert server.output().count("left behind") == 1
        assert lifespan_file.read_text().split()[2:] == ["shutdown"]


def test_a_loop_that_is_slow_has_its_shutdown(
    servers: Servers, lifespan_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAIL", "slow shutdown")
    with servers.private("loops:with_state", *TWO, "--timeout-graceful-shutdown", "0") as server:
        with on_each_loop(server) as (one, _):
            one.request("GET", "/nap")
            wait_until(lifespan_file.with_suffix(".napping").exists)
            server.tell_to_stop()
            server.wait_for_output("left behind")
            lifespan_file.with_suffix(".awake").touch()
            server.wait_for_output("The thread pyre.loop-0 is back")
            lifespan_file.with_suffix(".release").touch()
            assert server.wait() == 0
        assert lifespan_file.read_text().split()[2:] == ["shutdown"] * 2


def test_sys_exit_on_one_loop_ends_the_process_with_its_code(servers: Servers, lifespan_file: Path) -> None:
    with servers.private("loops:with_state", *TWO) as server, wires(server, 1) as (wire,):
        wire.request("GET", "/leave")
        assert server.wait() == 7
        assert lifespan_file.read_text().split()[2:] == ["shutdown"]  # of the other one


def test_sys_exit_during_the_drain_leaves_the_others_theirs(servers: Servers, lifespan_file: Path) -> None:
    with servers.private("loops:with_state", *TWO) as server, on_each_loop(server) as (one, _):
        one.request("GET", "/leave_when_told")
        server.wait_for_note("leaves")
        server.tell_to_stop()
        server.wait_for_output("Waiting for connections to close")
        lifespan_file.with_suffix(".release").touch()
        assert server.wait() == 7
        assert lifespan_file.read_text().split()[2:] == ["shutdown"]
        assert "Traceback" not in server.output()


def test_sys_exit_during_the_shutdown_leaves_the_others_theirs(
    servers: Servers, lifespan_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAIL", "exit in shutdown")
    with servers.private("loops:with_state", *TWO) as server:
        server.tell_to_stop()
        assert server.wait() == 7
        assert lifespan_file.read_text().split()[2:] == ["shutdown"]
        assert "Traceback" not in server.output()


@pytest.mark.parametrize("how", ["exit in startup", "one waits", "no thread"])
def test_a_loop_that_cannot_start_ends_the_others(
    servers: Servers, lifespan_file: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """One calls sys.exit() while the other has started; one fails while the other waits; one has no thread."""
    monkeypatch.setenv("FAIL", how)
    with pytest.raises(StartError) as failed:
        with servers.private("loops:with_state", *TWO, "--lifespan", "on"):
            pass
    assert failed.value.exit_code == 3
    written = lifespan_file.read_text().split() if how != "no thread" else []
    assert written.count("shutdown") == (1 if how == "exit in startup" else 0)
    if how != "no thread":
        assert written.count("startup") == 2
    said = {
        "one waits": "Giving up on the application's startup",
        "no thread": "Cannot start the thread of event loop 2",
    }
    assert said.get(how, "") in failed.value.output
    assert "left behind" not in failed.value.output


def test_a_loop_that_is_stopped_by_the_application_is_a_failure(servers: Servers, lifespan_file: Path) -> None:
    with servers.private("loops:with_state", *TWO) as server, wires(server, 1) as (wire,):
        wire.request("GET", "/stop_loop")
        assert server.wait() == 1
        assert "The event loop of pyre.loop-" in server.output()
        assert lifespan_file.read_text().split()[2:] == ["shutdown"]  # of the other one


def test_signals_that_come_before_the_loops_hurry_them(servers: Servers, lifespan_file: Path) -> None:
    with pytest.raises(StartError) as failed:
        with servers.private("loops:impatient", *TWO, "--factory"):
            pass
    assert failed.value.exit_code == 3
    assert "Giving up on the application's startup" in failed.value.output


def test_counters_can_be_read_until_the_end(servers: Servers, lifespan_file: Path) -> None:
    with servers.private("loops:with_state", *TWO) as server, wires(server, 2) as several:
        assert ask(several[0], "/watch_stats") == "watching"
        assert server.stop() == 0
        written = lifespan_file.read_text().split("\n")
        assert "counted" in written and not any("Error" in line for line in written)
