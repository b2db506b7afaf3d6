"""The rules of the house that no compiler checks: who includes what, how long things get, that no file is forgotten.

Each rule is a test, and names every place that breaks it. None of them needs a build, only git and a compiler.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SOURCE_SUFFIXES = {".h", ".cpp", ".c", ".cc", ".hpp", ".inl"}
TEXT_SUFFIXES = SOURCE_SUFFIXES | {"", *".py .pyi .cmake .sh .toml .json .md .txt .lua .yml .yaml".split()}
MAX_COLUMNS = 120
MAX_LINES = 500
MAX_LINES_OF_A_TEST = 800

# Longer than that, each for a reason.
LONG_FILES: dict[str, str] = {
    "src/platform/sim/sim_reactor.cpp": "test support: one simulated network, whose parts share every structure",
}
# Data, or text that is wrapped by its renderer.
ANY_LINE_LENGTH = {".md", ".json", ".txt", ".lock"}


def tracked_files() -> list[Path]:
    """Every file of the project: what git knows, and what it would add."""
    command = ["git", "-c", "safe.directory=*", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    if shutil.which("git") and (ROOT / ".git").exists():
        names = subprocess.run(command, cwd=ROOT, check=True, capture_output=True).stdout.decode().split("\0")
        return sorted(path for name in names if name and (path := ROOT / name).is_file() and not path.is_symlink())
    skipped = {"build", "dist", ".venv", "__pycache__"}
    return sorted(p for p in ROOT.rglob("*") if p.is_file() and not skipped & set(p.relative_to(ROOT).parts))


FILES = tracked_files()
SOURCES = [p for p in FILES if p.suffix in SOURCE_SUFFIXES and p.is_relative_to(ROOT / "src")]
HEADERS = [p for p in SOURCES if p.suffix == ".h"]
ALL_CPP = [p for p in FILES if p.suffix in SOURCE_SUFFIXES]
OURS = [
    p
    for p in FILES
    if p.suffix in SOURCE_SUFFIXES | {".py", ".pyi", ".cmake"} or p.name in {"CMakeLists.txt", "lib.sh"}
]


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def lines_of(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines()


def matches(paths: Iterable[Path], pattern: re.Pattern[str]) -> Iterator[str]:
    for path in paths:
        for number, line in enumerate(lines_of(path), 1):
            if pattern.search(line):
                yield f"{name_of(path)}:{number}: {line.strip()}"


def none_of(broken: Iterable[str]) -> None:
    found = list(broken)
    assert not found, "\n" + "\n".join(found)


def test_operating_system_ifdefs_only_in_platform() -> None:
    system = r"_WIN32|_WIN64|_MSC_VER|__linux__|__unix__|__APPLE__|__FreeBSD__|__GLIBC__|__MINGW32__|__CYGWIN__"
    outside = [p for p in SOURCES if not p.is_relative_to(ROOT / "src/platform")]
    # A test of one system is a file of its own (…_linux_test.cpp), so that nobody has to guess what runs where.
    outside += [p for p in ALL_CPP if p.is_relative_to(ROOT / "tests") and not p.is_relative_to(ROOT / "tests/support")]
    none_of(matches(outside, re.compile(rf"^\s*#\s*(if|ifdef|ifndef|elif)\b.*\b({system})\b")))


def test_system_headers_of_one_os_only_in_platform() -> None:
    headers = (
        r"sys/(epoll|eventfd|timerfd|socket|sendfile|un|uio)\.h|netinet/.*|arpa/inet\.h|unistd\.h|win(dows|sock2)\.h"
    )
    outside = [p for p in SOURCES if not p.is_relative_to(ROOT / "src/platform")]
    none_of(matches(outside, re.compile(rf"^\s*#\s*include\s*<({headers})>")))


@pytest.mark.parametrize(
    ("pattern", "allowed"),
    [
        pytest.param(
            r'#\s*include\s*[<"](Python\.h|pybind11/)',
            lambda name: name.startswith("src/asgi/") or Path(name).name.startswith("bind_"),
            id="python",
        ),
        pytest.param(r'#\s*include\s*[<"]llhttp', lambda name: name == "src/http/request_parser.cpp", id="llhttp"),
        pytest.param(r'#\s*include\s*[<"](tbb|oneapi)/', lambda name: name.startswith("src/net/offload"), id="onetbb"),
        pytest.param(r'#\s*include\s*[<"]mimalloc', lambda name: name == "src/platform/memory.cpp", id="mimalloc"),
        pytest.param(
            r'#\s*include\s*[<"](zlib|zconf|brotli/|zstd)',
            lambda name: name == "src/http/encoder.cpp",
            id="compression",
        ),
    ],
)
def test_third_party_headers_stay_where_they_belong(pattern: str, allowed: Callable[[str], bool]) -> None:
    none_of(matches([p for p in SOURCES if not allowed(name_of(p))], re.compile(pattern)))


def test_layers_include_only_what_is_below_them() -> None:
    below = {
        "platform": {"platform"},
        "net": {"platform", "net"},
        "http": {"platform", "net", "http"},
        "framework": {"platform", "framework"},
        "asgi": {"platform", "net", "http", "framework", "asgi"},
    }
    include = re.compile(r'^\s*#\s*include\s*"([a-z_]+)/')

    def broken() -> Iterator[str]:
        for path in SOURCES:
            part = path.relative_to(ROOT / "src").parts[0]
            for number, line in enumerate(lines_of(path), 1):
                found = include.match(line)
                if found and found[1] in below and found[1] not in below[part] and not path.name.startswith("bind_"):
                    yield f"{name_of(path)}:{number}: src/{part} must not include {found[1]}"

    none_of(broken())


def test_headers_start_with_a_comment_and_have_pragma_once() -> None:
    def broken() -> Iterator[str]:
        for path in HEADERS:
            lines = lines_of(path)
            if not lines or not lines[0].startswith("// ") or len(lines[0]) < 20:
                yield f"{name_of(path)}: the first line must be a comment that says what the header is"
            if "#pragma once" not in lines:
                yield f"{name_of(path)}: no #pragma once"

    none_of(broken())


def test_lines_are_at_most_120_columns() -> None:
    def broken() -> Iterator[str]:
        for path in FILES:
            if path.suffix not in TEXT_SUFFIXES or path.suffix in ANY_LINE_LENGTH or path.name == "LICENSE":
                continue
            try:
                lines = lines_of(path)
            except UnicodeDecodeError:
                continue
            for number, line in enumerate(lines, 1):
                if len(line) > MAX_COLUMNS:
                    yield f"{name_of(path)}:{number}: {len(line)} columns"

    none_of(broken())


def test_files_are_not_too_long() -> None:
    def broken() -> Iterator[str]:
        for path in OURS:
            name = name_of(path)
            limit = MAX_LINES_OF_A_TEST if name.startswith("tests/") else MAX_LINES
            count = len(lines_of(path))
            if count > limit and name not in LONG_FILES:
                yield f"{name}: {count} lines, the limit is {limit}"
            elif count <= limit and name in LONG_FILES:
                yield f"{name}: {count} lines, so it needs no exception any more"
        for name in LONG_FILES:
            if not (ROOT / name).exists():
                yield f"{name}: has an exception, but does not exist"

    none_of(broken())


def test_no_tabs_or_trailing_blanks() -> None:
    none_of(matches(OURS, re.compile(r"\t|[ \t]+$")))


def test_no_wait_that_old_systems_lack() -> None:
    """condition_variable::wait is a GLIBCXX_3.4.30 symbol: a wheel with it runs on no RHEL 9. See platform/wait.h."""
    waits = re.compile(r"\b\w+(?:->|\.)wait\(\w*lock\w*[,)]")
    none_of(matches(SOURCES, waits))


def test_thread_locals_need_no_destructor() -> None:
    """MinGW frees the memory of thread_local objects before it calls their destructors."""
    simple = r"(?:[\w:]+\*&? |bool |std::uint32_t |ClockFunction )"
    none_of(matches(SOURCES, re.compile(rf"\bthread_local (?!{simple})")))


def test_nothing_is_left_to_do_in_the_code() -> None:
    # Put together here, so that this file does not find itself.
    words = "|".join(["TO" + "DO", "FIX" + "ME", "XX" + "X", "HA" + "CK"])
    none_of(matches(OURS, re.compile(rf"\b({words})\b")))


def test_no_paths_of_one_machine() -> None:
    paths = "|".join(["/wo" + "rk/", "/ho" + "me/[a-z]", "/ro" + "ot/", "/Us" + "ers/", r"C:\\Us" + "ers"])
    text = [p for p in FILES if p.suffix in TEXT_SUFFIXES and p.name != "LICENSE"]

    def broken() -> Iterator[str]:
        for path in text:
            try:
                yield from matches([path], re.compile(rf"(?<![\w.}}])({paths})"))
            except UnicodeDecodeError:
                continue

    none_of(broken())


def test_every_source_is_listed_in_a_cmakelists() -> None:
    """A file that no CMakeLists.txt names is not compiled, and nobody notices."""

    def broken() -> Iterator[str]:
        for path in ALL_CPP:
            # These are compiled by what uses them.
            elsewhere = ("bench", "tests/asgi", "tests/support/wine")
            if path.suffix != ".cpp" or any(path.is_relative_to(ROOT / folder) for folder in elsewhere):
                continue
            for folder in [path.parent, *path.parent.parents]:
                listing = folder / "CMakeLists.txt"
                if listing.exists() and re.search(
                    rf"(?<![\w/]){re.escape(path.relative_to(folder).as_posix())}\b", listing.read_text()
                ):
                    break
                if folder == ROOT:
                    yield f"{name_of(path)}: in no CMakeLists.txt"
                    break

    none_of(broken())


def test_every_script_is_executable_and_checked() -> None:
    def broken() -> Iterator[str]:
        for path in FILES:
            if path.is_relative_to(ROOT / "scripts") or path == ROOT / ".ci/run":
                shebang = path.read_bytes().startswith(b"#!")
                if shebang != os.access(path, os.X_OK):
                    yield f"{name_of(path)}: a shebang and the executable bit go together"
                if shebang and b"bash" in path.read_bytes().splitlines()[0]:
                    checked = subprocess.run(["bash", "-n", path], capture_output=True, text=True)
                    if checked.returncode:
                        yield f"{name_of(path)}: {checked.stderr.strip()}"

    none_of(broken())


def python_includes() -> list[str]:
    import sysconfig

    try:
        import pybind11
    except ImportError:
        pytest.skip("pybind11 is not installed: see ./scripts/setup")
    return ["-isystem", sysconfig.get_path("include"), "-isystem", pybind11.get_include()]


@pytest.mark.timeout(600)
def test_each_header_compiles_alone(tmp_path: Path) -> None:
    compiler = os.environ.get("CXX") or shutil.which("g++") or shutil.which("clang++")
    if not compiler:
        pytest.skip("no C++ compiler")
    flags = [
        "-std=c++20",
        "-fsyntax-only",
        "-Wall",
        "-Wextra",
        "-Wpedantic",
        "-Wno-missing-field-initializers",
        "-Werror",
    ]

    windows = "x86_64-w64-mingw32-g++-posix"

    def compile_alone(header: Path) -> str | None:
        for_windows = header.is_relative_to(ROOT / "src/platform/windows")
        if for_windows and not shutil.which(windows):
            return None  # the job `windows` compiles them, by way of their users
        unit = tmp_path / (name_of(header).replace("/", "__") + ".cpp")
        unit.write_text(f'#include "{header.relative_to(ROOT / "src").as_posix()}"\n', encoding="utf-8")
        needs_python = header.is_relative_to(ROOT / "src/asgi") or header.name.startswith("bind_")
        defines = ["-D_WIN32_WINNT=0x0A00", "-DNOMINMAX", "-DWIN32_LEAN_AND_MEAN"]
        target = [windows, *defines] if for_windows else [compiler]
        command = [*target, *flags, f"-I{ROOT / 'src'}", *(python_includes() if needs_python else []), str(unit)]
        done = subprocess.run(command, capture_output=True, text=True)
        return f"{name_of(header)}:\n{done.stderr[-2000:]}" if done.returncode else None

    with ThreadPoolExecutor(max_workers=min(4, os.cpu_count() or 1)) as pool:
        none_of(result for result in pool.map(compile_alone, HEADERS) if result)
