"""Names that try to be more than names: nothing outside the gateway's own records is looked at."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path
from typing import Final

import httpx
import pytest

IN_OPEN, IN_NONBLOCK = 0x20, 0o4000
UP: Final = ("..%2f" * 12, "%2e%2e%2f" * 12, "..%5c" * 12, "%2f", "....//" * 6, "%252e%252e%252f" * 12)
ODD: Final = ("%00", "a%00b", "x" * 300, "%0d%0aX-Injected:%20yes", "%ff%fe", "~root", "a%20b", "CON", "%F0%9F%92%A9")


@pytest.fixture
def decoy(tmp_path: Path) -> Path:
    folder = tmp_path / "outside"
    folder.mkdir()
    (folder / "secret.txt").write_text("the decoy was read")
    return folder / "secret.txt"


class Watch:
    """Tells whether anybody opened anything in a folder."""

    def __init__(self, folder: Path) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        self._descriptor = libc.inotify_init1(IN_NONBLOCK)
        assert libc.inotify_add_watch(self._descriptor, str(folder).encode(), IN_OPEN) > 0

    def opened(self) -> bool:
        try:
            return bool(os.read(self._descriptor, 4096))
        except BlockingIOError:
            return False

    def close(self) -> None:
        os.close(self._descriptor)


def test_a_name_with_a_way_out_opens_nothing(agent: httpx.Client, reviewer: httpx.Client, decoy: Path) -> None:
    real = agent.post("/v1/executions", json={"code": "def broken(:", "task_id": "names"}).json()["id"]
    target = str(decoy).lstrip("/").replace("/", "%2f")
    names = [up + target for up in UP] + list(ODD)
    watch = Watch(decoy.parent)
    for name in names:
        for path in (
            f"executions/{name}",
            f"tasks/{name}",
            f"executions/{real}/files/{name}",
            f"executions/{name}/files/a",
        ):
            _refused(agent.get(f"/v1/{path}"))
        _refused(reviewer.get(f"/v1/reviews/{name}"))
        _refused(reviewer.post(f"/v1/reviews/{name}/rulings", json={"token": "x", "ruling": "approve"}))
        _refused(agent.delete(f"/v1/executions/{name}"))
    for path in (f"/..{decoy}", f"../../..{decoy}", f"//{decoy}", str(decoy), "a\0b", "x" * 600):
        _refused(agent.post("/v1/executions", json={"code": "1", "files": [{"path": path, "content": ""}]}))
        _refused(agent.post("/v1/executions", json={"code": "1", "task_id": path}))
        _refused(agent.post("/v1/executions", json={"code": "1", "outputs": [path.replace("/tmp/", "/etc/")]}))
    assert not watch.opened()
    decoy.read_text()
    assert watch.opened(), "the watch sees what is opened"
    watch.close()


def _refused(answer: httpx.Response) -> None:
    assert answer.status_code in {404, 422}, (answer.request.url, answer.text)
    assert answer.headers["content-type"] == "application/problem+json"
    assert "x-injected" not in answer.headers
    assert "decoy" not in answer.text
