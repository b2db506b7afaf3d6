"""The wheels for Windows that ./scripts/build-windows-wheel made, as a user gets them: what is in them, and that each
works by itself in a fresh CPython, under Wine."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
WHEELS = sorted((ROOT / "build/wheels").glob("pyre_server-*-win_amd64.whl"))
USER = Path(__file__).with_name("windows_user.py")
# What every Windows 10 has (msvcrt is the C library that mingw-w64 links), beside Python itself.
SYSTEM = {"advapi32.dll", "bcrypt.dll", "kernel32.dll", "msvcrt.dll", "psapi.dll", "shell32.dll", "user32.dll"}
SOCKETS = {"mswsock.dll", "ws2_32.dll"}


def test_there_is_a_wheel() -> None:
    assert WHEELS, "run ./scripts/build-windows-wheel first"


@pytest.fixture(params=WHEELS, ids=lambda path: path.name.split("-")[2])
def wheel(request: pytest.FixtureRequest) -> Path:
    path: Path = request.param
    return path


def tag(wheel: Path) -> str:
    found = re.search(r"-(cp3\d+)-\1-win_amd64\.whl$", wheel.name)
    assert found, wheel.name
    return found.group(1)


def test_there_is_nothing_in_it_that_nobody_asked_for(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = [name for name in archive.namelist() if not name.endswith("/")]
        metadata = archive.read(next(name for name in names if name.endswith(".dist-info/WHEEL"))).decode()
    modules = [name for name in names if name.endswith((".pyd", ".dll", ".so"))]
    assert modules == [f"pyre/_core.{tag(wheel)}-win_amd64.pyd"]
    expected = r"pyre/\w+\.(py|pyi)|pyre/py\.typed|pyre_server-[^/]+\.dist-info/.*"
    assert [name for name in names if not re.fullmatch(expected, name)] == modules
    assert "pyre/py.typed" in names
    assert "pyre/_core.pyi" in names
    assert re.findall(r"^Tag: (.*)$", metadata, re.MULTILINE) == [f"{tag(wheel)}-{tag(wheel)}-win_amd64"]


def test_the_licences_of_what_is_linked_in_are_there(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        licences = {Path(name).name for name in archive.namelist() if "/licenses/" in name}
    linked = "brotli llhttp mimalloc mingw-w64 onetbb pybind11 zlib-ng zstd"
    assert licences >= {"LICENSE", *(f"{name}.txt" for name in linked.split())}


def test_the_module_needs_nothing_but_the_system_and_python(wheel: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        module = archive.extract(f"pyre/_core.{tag(wheel)}-win_amd64.pyd", tmp_path)
    command = ["x86_64-w64-mingw32-objdump", "-p", module]
    headers = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    needed = {name.lower() for name in re.findall(r"DLL Name: (\S+)", headers)}
    assert needed <= SYSTEM | SOCKETS | {f"{tag(wheel).replace('cp', 'python')}.dll"}
    exports = re.search(r"^\[Ordinal/Name Pointer\] Table.*?\n((?:\s+\[.*\n)*)", headers, re.MULTILINE)
    assert exports is not None
    assert re.findall(r"\] (?:\+base\[[^\]]*\] )?(?:[0-9a-f]+ )?(\w+)$", exports.group(1), re.MULTILINE) == [
        "PyInit__core"
    ], "no symbol is exported but the module's"


@pytest.fixture
def python(wheel: Path, tmp_path: Path) -> Path:
    """A CPython for Windows of its own, in a folder whose name has blanks and umlauts, with the wheel and FastAPI."""
    version = tag(wheel).replace("cp3", "3.")
    home = Path(
        subprocess.run(
            [ROOT / "scripts/get-windows-python", version], check=True, capture_output=True, text=True
        ).stdout.strip()
    )
    fresh = tmp_path / "Prögramme und so" / "python"
    shutil.copytree(home, fresh, ignore=shutil.ignore_patterns("test", "share", "include", "libs"))
    house = tmp_path / "house"
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--dest", house, "--only-binary=:all:"]
    target = ["--platform", "win_amd64", "--implementation", "cp", "--python-version", version]
    # colorama: pip looks at the markers of the system that it runs on.
    wanted = ["-c", ROOT / "requirements/constraints.txt", "fastapi", "click", "colorama"]
    subprocess.run([*pip, *target, *wanted], check=True)
    shutil.copy(wheel, house)
    install = ["-m", "pip", "install", "--quiet", "--no-index", "--find-links", windows_path(house)]
    done = under_wine(fresh / "python.exe", *install, "pyre-server", "fastapi")
    assert done.returncode == 0, done.stdout
    return fresh / "python.exe"


def windows_path(path: Path) -> str:
    return "Z:" + str(path).replace("/", "\\")


def under_wine(program: Path, *arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """All output in stdout, through a pipe: a Windows Python under Wine does not start with a file there."""
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "PYRE_", "PIP_"))
    }
    return subprocess.run(
        [ROOT / "scripts/under-wine", "wine", program, *arguments],
        env=environment,
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
        timeout=500,
        check=False,
    )


def test_it_serves_a_fastapi_app_and_ends_when_it_is_told_to(python: Path, tmp_path: Path) -> None:
    folder = tmp_path / "an app"
    folder.mkdir()
    (folder / "main.py").write_text(
        "from fastapi import FastAPI\n\napp = FastAPI()\n\n\n@app.get('/')\n"
        "async def hello(name: str = 'world') -> dict[str, str]:\n    return {'hello': name}\n"
    )
    done = under_wine(python, windows_path(USER), cwd=folder)
    assert done.returncode == 0, done.stdout
    assert "served, and ended with 0" in done.stdout
