from __future__ import annotations

import os
import pickle
import threading
from pathlib import Path

import pytest
from pyre.config import Config
from pyre.reload import child_options
from pyre.reload_watch import FileFilter, NotifyWatcher, StatWatcher, make_watcher, watched_directories


def config(**options: object) -> Config:
    return Config("x:y", reload=True, **options)  # type: ignore[arg-type]


def wants(path: str, **options: object) -> bool:
    root = Path.cwd()
    return FileFilter(config(**options)).wants(root / path, root)


@pytest.mark.usefixtures("app_dir")
@pytest.mark.parametrize(
    ("path", "wanted"),
    [
        ("main.py", True),
        ("package/deep/module.py", True),
        ("main.pyc", False),
        ("readme.md", False),
        (".hidden.py", False),
        (".venv/lib/module.py", False),
        ("package/.git/hook.py", False),
        ("__pycache__/x.py", False),
        ("~backup.py", False),
        (".sw.py", False),
    ],
)
def test_which_files_count_by_default(path: str, wanted: bool) -> None:
    assert wants(path) == wanted


@pytest.mark.usefixtures("app_dir")
def test_includes_and_excludes() -> None:
    assert wants("page.html", reload_includes=["*.html"])
    assert wants("main.py", reload_includes=["*.html"])
    assert not wants("main.py", reload_excludes=["*.py"])
    assert not wants("test_x.py", reload_excludes=["test_*"])
    assert wants(".env.py", reload_includes=[".*"])


def test_an_excluded_directory(app_dir: Path) -> None:
    (app_dir / "generated").mkdir()
    assert not wants("generated/x.py", reload_excludes=["generated"])
    assert wants("other/x.py", reload_excludes=["generated"])


def test_directories(app_dir: Path) -> None:
    for name in ("a/b", "c", "templates"):
        (app_dir / name).mkdir(parents=True)
    assert watched_directories(config()) == [app_dir.resolve()]
    assert watched_directories(config(reload_dirs=["a", "a/b", "c"])) == [app_dir / "a", app_dir / "c"]
    assert watched_directories(config(reload_dirs=["a"], reload_includes=["templates", "*.py"])) == [
        app_dir / "a",
        app_dir / "templates",
    ]
    assert watched_directories(config(reload_dirs=["nothing"])) == [app_dir.resolve()]
    outside = app_dir.parent
    assert watched_directories(config(app_dir=str(outside))) == [outside.resolve()]


def test_polling_sees_new_changed_and_removed_files(app_dir: Path) -> None:
    (app_dir / "old.py").write_text("1")
    (app_dir / "readme.md").write_text("1")
    watcher = StatWatcher([app_dir], FileFilter(config()), 0.001, threading.Event())
    assert watcher.wait() == []
    (app_dir / "readme.md").write_text("22")
    assert watcher.wait() == []
    (app_dir / "package").mkdir()
    (app_dir / "package" / "new.py").write_text("1")
    assert watcher.wait() == [str(app_dir / "package" / "new.py")]
    (app_dir / "old.py").write_text("22")
    assert watcher.wait() == [str(app_dir / "old.py")]
    os.utime(app_dir / "old.py", ns=(1, 1))
    assert watcher.wait() == [str(app_dir / "old.py")]
    (app_dir / "old.py").unlink()
    assert watcher.wait() == [str(app_dir / "old.py")]
    assert watcher.wait() == []


def test_watchfiles_sees_a_change(app_dir: Path) -> None:
    pytest.importorskip("watchfiles", exc_type=ImportError)
    (app_dir / "main.py").write_text("1")
    watcher = make_watcher([app_dir.resolve()], FileFilter(config()), 0.05, threading.Event())
    assert isinstance(watcher, NotifyWatcher)
    changes: list[str] = []
    for number in range(200):
        (app_dir / "readme.md").write_text(str(number))
        (app_dir / "main.py").write_text(str(number))
        changes = watcher.wait()
        if changes:
            break
    assert changes == [str(app_dir.resolve() / "main.py")]


@pytest.mark.parametrize("kind", ["stat", "notify"])
def test_stopping_ends_the_wait(kind: str, app_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if kind == "stat":
        monkeypatch.setitem(__import__("sys").modules, "watchfiles", None)
    else:
        pytest.importorskip("watchfiles", exc_type=ImportError)
    stop = threading.Event()
    watcher = make_watcher([app_dir], FileFilter(config()), 3600, stop)
    stop.set()
    assert watcher.wait() == []


def test_the_child_gets_what_is_for_it() -> None:
    options = child_options(
        config(port=1, reload_dirs=["."], http="h11", log_level="debug", headers=[("a", "b")], forwarded_allow_ips="*")
    )
    again = Config(**pickle.loads(pickle.dumps(options)))
    assert not again.reload
    assert "http" not in options  # was warned of already
    assert (again.app, again.log_level, again.headers, again.forwarded_allow_ips) == ("x:y", "debug", [("a", "b")], "*")


def test_options_warn_without_reload(capsys: pytest.CaptureFixture[str]) -> None:
    Config("x:y", reload_dirs=["."])
    assert "have no effect without --reload" in capsys.readouterr().err
