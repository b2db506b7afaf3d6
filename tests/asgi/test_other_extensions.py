"""Other extension modules in our process: ours must not change the ground that they stand on."""

from __future__ import annotations

import os
import shutil
import subprocess
import sysconfig
from pathlib import Path

import pytest
from serving import PYTHON

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def second_module(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with `pyre_second`, built against the same pybind11 as our module."""
    pybind11 = pytest.importorskip("pybind11")
    compiler = shutil.which("c++")
    if compiler is None:
        pytest.skip("no C++ compiler")
    folder = tmp_path_factory.mktemp("second")
    target = folder / f"pyre_second{sysconfig.get_config_var('EXT_SUFFIX')}"
    includes = [f"-I{path}" for path in (pybind11.get_include(), sysconfig.get_paths()["include"])]
    source = HERE / "second_module.cpp"
    command = [compiler, "-std=c++17", "-O0", "-shared", "-fPIC", *includes, str(source), "-o", str(target), "-ldl"]
    environment = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}  # a sanitizer's
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return folder


SERVES = """
async def app(scope, receive, send):
    words = pyre_second.words(1000)
    assert len(words) == 1000 and words[7] == "word 7 " + "x" * 100
    try:
        pyre_second.fail("on purpose")
    except KeyError as error:
        assert "on purpose" in str(error)
    try:
        pyre_second.Box().take(object())
    except TypeError:
        pass
    assert pyre_second.Box(41).add(1) == 42
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})

async def main():
    server = pyre.Server(pyre.Config(app, port=0, log_level="warning", lifespan="off"))
    running = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    port = server.listeners[0].sock.getsockname()[1]
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for _ in range(20):
        writer.write(b"GET / HTTP/1.1\\r\\nHost: a\\r\\n\\r\\n")
        head = await reader.readuntil(b"\\r\\n\\r\\n")
        assert head.startswith(b"HTTP/1.1 200"), head
        assert await reader.readexactly(2) == b"ok"
    writer.close()
    server.should_exit = True
    await running
    assert pyre_second.malloc_is_libc(), "our allocator took malloc over"
    print("done")

import asyncio
asyncio.run(main())
"""


@pytest.mark.parametrize("order", ["import pyre\nimport pyre_second", "import pyre_second\nimport pyre"])
def test_a_second_pybind11_module_works_beside_ours(second_module: Path, order: str) -> None:
    path = os.pathsep.join([str(second_module), os.environ["PYTHONPATH"]])
    done = subprocess.run(
        [PYTHON, "-c", f"{order}\n{SERVES}"],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (done.returncode, done.stdout) == (0, "done\n"), done.stderr
