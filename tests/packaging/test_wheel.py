"""The wheel that ./scripts/build-wheel made, as a user gets it: what is in it, and that it works by itself."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
import urllib.request
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
WHEELS = sorted((ROOT / "build/wheels").glob("pyre_server-*-manylinux_*.whl"))


@pytest.fixture(scope="module")
def wheel() -> Path:
    assert len(WHEELS) == 1, f"run ./scripts/build-wheel first: {WHEELS}"
    return WHEELS[0]


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with the wheel and FastAPI, and neither a compiler's output nor the source tree on its path."""
    folder = tmp_path_factory.mktemp("wheel") / "venv"
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    constraints = ROOT / "requirements/constraints.txt"
    pip = [folder / "bin/python", "-m", "pip", "install", "--quiet", "-c", constraints]
    subprocess.run([*pip, f"{wheel}[standard]", "fastapi", "pybind11", "pytest", "pytest-timeout"], check=True)
    return folder


def clean() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "PYRE_"))}


def test_there_is_nothing_in_it_that_nobody_asked_for(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = [name for name in archive.namelist() if not name.endswith("/")]
    modules = [name for name in names if name.endswith(".so")]
    assert len(modules) == 1, modules
    assert modules[0].startswith("pyre/_core.")
    strange = [
        n for n in names if not re.fullmatch(r"pyre/\w+\.(py|pyi)|pyre/py\.typed|pyre_server-[^/]+\.dist-info/.*", n)
    ]
    assert strange == modules
    assert "pyre/py.typed" in names
    assert "pyre/_core.pyi" in names


def test_the_licences_of_what_is_linked_in_are_there(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        licences = {Path(name).name for name in archive.namelist() if "/licenses/" in name}
    linked = "brotli llhttp mimalloc onetbb pybind11 zlib-ng zstd"
    assert licences >= {"LICENSE", *(f"{name}.txt" for name in linked.split())}


def test_it_runs_where_glibc_is_as_old_as_2_34(wheel: Path) -> None:
    """That is RHEL 9; what is built on Debian 12 cannot be older."""
    tag = re.search(r"-manylinux_2_(\d+)_x86_64\.whl$", wheel.name)
    assert tag is not None, wheel.name
    assert int(tag.group(1)) <= 34


def test_the_module_needs_nothing_but_the_c_and_cpp_libraries(environment: Path) -> None:
    module = next(environment.glob("lib/python3*/site-packages/pyre/_core*.so"))
    dynamic = subprocess.run(["readelf", "-d", module], check=True, capture_output=True, text=True).stdout
    needed = set(re.findall(r"\(NEEDED\).*\[(.*)\]", dynamic))
    assert needed <= {"libc.so.6", "libm.so.6", "ld-linux-x86-64.so.2", "libstdc++.so.6", "libgcc_s.so.1"}
    symbols = subprocess.run(["nm", "-D", "--defined-only", module], check=True, capture_output=True, text=True).stdout
    assert re.findall(r" [TWV] (\S+)", symbols) == ["PyInit__core"], "no symbol is exported but the module's"


@pytest.fixture
def app_folder(tmp_path: Path) -> Path:
    (tmp_path / "main.py").write_text(
        "from fastapi import FastAPI\n\napp = FastAPI()\n\n\n@app.get('/')\n"
        "async def hello(name: str = 'world') -> dict[str, str]:\n    return {'hello': name}\n"
    )
    return tmp_path


@pytest.fixture
def url(environment: Path, app_folder: Path) -> Iterator[str]:
    process = subprocess.Popen(
        [environment / "bin/pyre", "main:app", "--port", "0"],
        cwd=app_folder,
        env=clean(),
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stderr is not None
        started = time.monotonic()
        found = None
        said = ""
        while found is None:
            line = process.stderr.readline()
            said += line
            assert line, f"it ended: {said}"
            assert time.monotonic() < started + 60, said
            found = re.search(r"http://127\.0\.0\.1:[1-9]\d*", line)
        yield found.group()
        process.terminate()
        process.communicate(timeout=30)
        assert process.returncode == 0
    finally:
        process.kill()
        process.wait()
        process.communicate()


def test_it_serves_a_fastapi_app(url: str) -> None:
    with urllib.request.urlopen(f"{url}/?name=wheel", timeout=30) as answer:
        assert (answer.status, answer.read()) == (200, b'{"hello":"wheel"}')


def test_another_pybind11_module_works_beside_it(environment: Path) -> None:
    site = next(environment.glob("lib/python3*/site-packages"))
    done = subprocess.run(
        [
            environment / "bin/python",
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            "tests/asgi/test_other_extensions.py",
        ],
        cwd=ROOT,
        env={**clean(), "PYRE_PACKAGE_DIR": str(site)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 passed" in done.stdout
