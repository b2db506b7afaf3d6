from __future__ import annotations

from pathlib import Path

import pytest
from pyre.config import Config
from pyre.errors import AppLoadError
from pyre.importer import import_from_string


def test_module_and_attribute(app_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(app_dir)
    (app_dir / "found_main.py").write_text("class api:\n    app = 3\n")
    assert import_from_string("found_main:api.app") == 3


def test_path_of_a_file_finds_its_neighbours(app_dir: Path) -> None:
    (app_dir / "services").mkdir()
    (app_dir / "services" / "neighbour_a.py").write_text("value = 7\n")
    (app_dir / "services" / "served_a.py").write_text("from neighbour_a import value as app\n")
    assert import_from_string("services/served_a.py:app") == 7


def test_path_of_a_file_in_a_package_is_imported_as_its_module(app_dir: Path) -> None:
    package = app_dir / "src" / "outer_b" / "inner"
    package.mkdir(parents=True)
    (package.parent / "__init__.py").touch()
    (package / "__init__.py").touch()
    (package / "helper.py").write_text("value = 8\n")
    (package / "served.py").write_text("from .helper import value as app\nname = __name__\n")
    assert import_from_string("src/outer_b/inner/served.py:app") == 8
    assert import_from_string("outer_b.inner.served:name") == "outer_b.inner.served"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("main", 'must be written as "<module>:<attribute>"'),
        (":app", "must be written as"),
        ("main:", "must be written as"),
        ("no_such_module_x:app", 'Could not import module "no_such_module_x"'),
        ("os.no_such:app", 'Could not import module "os.no_such"'),
        ("os:no_such", 'Attribute "no_such" not found in module "os"'),
        ("missing/file.py:app", 'There is no file "missing/file.py"'),
        ("some/file:app", 'does not end in ".py"'),
        ("json.py:app", "rename the file"),
        ("my-app.py:app", '"my-app" is not a module name'),
    ],
)
def test_clear_errors(text: str, sentence: str, app_dir: Path) -> None:
    (app_dir / "json.py").touch()
    (app_dir / "my-app.py").touch()
    with pytest.raises(AppLoadError) as caught:
        import_from_string(text)
    assert sentence in str(caught.value)


@pytest.mark.parametrize(
    ("source", "cause"),
    [
        ("import no_such_dependency_y", ModuleNotFoundError),
        ("def broken(:", SyntaxError),
        ("1 / 0", ZeroDivisionError),
        ("raise SystemExit(5)", SystemExit),
    ],
)
def test_what_the_module_raises_is_the_cause(
    source: str, cause: type[BaseException], app_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(app_dir)
    (app_dir / "broken_c.py").write_text(source + "\n")
    with pytest.raises(AppLoadError) as caught:
        import_from_string("broken_c:app")
    assert isinstance(caught.value.__cause__, cause)


def test_a_module_that_is_only_in_the_current_directory_gets_a_hint(app_dir: Path) -> None:
    (app_dir / "lonely_d.py").touch()
    with pytest.raises(AppLoadError, match="--app-dir"):
        import_from_string("lonely_d:app")


def test_app_dir_is_searched_first(app_dir: Path) -> None:
    (app_dir / "other").mkdir()
    (app_dir / "other" / "served_e.py").write_text("async def app(scope, receive, send): ...\n")
    assert Config("served_e:app", app_dir="other").load_app().__name__ == "app"


FACTORIES = """
async def app(scope, receive, send): ...
def create(): return app
def configurable(name="x"): return app
def failing(): raise RuntimeError("no database")
async def coroutine(): return app
number = 3
"""


@pytest.fixture
def factories(app_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(app_dir)
    (app_dir / "factories_f.py").write_text(FACTORIES)


@pytest.mark.parametrize(("name", "factory"), [("create", True), ("create()", False), ("configurable", True)])
@pytest.mark.usefixtures("factories")
def test_factories(name: str, factory: bool) -> None:
    assert Config(f"factories_f:{name}", factory=factory).load_app().__name__ == "app"


@pytest.mark.usefixtures("factories")
def test_a_factory_is_recognised_and_warned_of(capsys: pytest.CaptureFixture[str]) -> None:
    assert Config("factories_f:create").load_app().__name__ == "app"
    assert "set the --factory flag" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("failing", "The application factory failed: RuntimeError: no database."),
        ("coroutine", "must be a plain function"),
        ("number", "is not callable"),
        ("app", "The application factory failed: TypeError"),
    ],
)
@pytest.mark.usefixtures("factories")
def test_factories_that_fail(name: str, sentence: str) -> None:
    with pytest.raises(AppLoadError) as caught:
        Config(f"factories_f:{name}", factory=True).load_app()
    assert sentence in str(caught.value)
