"""The pictures of docs/console.md, drawn by hand only: `script/screenshots`."""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path
from typing import Final

from playwright.sync_api import Page, sync_playwright

from tests.browser.conftest import BROWSERS
from tests.conftest import Server
from tests.service.gateways import policy

MOST_BYTES: Final = 150 * 1024
TRIES: Final = (
    'import json\n\nrows = json.loads(\'[{"name": "a", "size": 3}]\')\nfor row in rows:\n    print(row["nmae"])\n',
    'import json\n\nrows = json.loads(\'[{"name": "a", "size": 3}]\')\nfor row in rows:\n    print(row["name"], row["sizes"])\n',
    'import json\n\nrows = json.loads(\'[{"name": "a", "size": 3}]\')\ntotal = 0\nfor row in rows:\n    print(row["name"], row["size"])\n    total += row["weight"]\ntotal\n',
)


def save(page: Page, folder: Path, name: str, *, whole: bool = False) -> None:
    path = folder / f"{name}.png"
    page.wait_for_timeout(400)
    page.screenshot(path=path, full_page=whole)
    size = path.stat().st_size
    assert size < MOST_BYTES, f"{path} has {size} bytes"
    print(f"{path}: {size >> 10} KiB")  # noqa: T201  # it is a script


def draw(server: Server, folder: Path) -> None:
    with server.client() as agent:
        for task in ("report-7", "import-prices", "clean-addresses"):
            for number, code in enumerate(TRIES):
                answer = agent.post(
                    "/v1/executions", json={"code": f"{code}# {task} {number}\n", "task_id": task}
                ).json()
        for number in range(12):
            agent.post("/v1/executions", json={"code": f"import os\nprint({number})\n", "task_id": "other"})
    review = answer["task"]["review"]
    with sync_playwright() as playwright:
        found = next(filter(None, map(shutil.which, BROWSERS)))
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        for scheme in ("light", "dark"):
            page = browser.new_context(color_scheme=scheme, viewport={"width": 1100, "height": 700}).new_page()
            page.goto(f"{server.url}/console/")
            if scheme == "light":
                save(page, folder, "login")
                with server.client(server.reviewer_key) as reviewer:
                    link = reviewer.post("/console/links", json={}).json()["path"]
                page.goto(f"{server.url}{link}")
                save(page, folder, "enter")
                page.goto(f"{server.url}/console/login")
            page.fill("#key", server.reviewer_key)
            page.keyboard.press("Enter")
            page.wait_for_url("**/queue")
            if scheme == "light":
                save(page, folder, "queue")
            page.goto(f"{server.url}/console/reviews/{review}")
            save(page, folder, "review" if scheme == "light" else "review-dark")
            if scheme == "light":
                page.keyboard.press("e")
                page.get_by_label("Your version").fill(
                    TRIES[2].replace('"weight"', '"size"').replace("total\n", "totl\n")
                )
                page.get_by_role("button", name="Check only").click()
                page.wait_for_selector("#checks")
                save(page, folder, "edit")
                for name in ("history", "tasks/report-7", "help"):
                    page.goto(f"{server.url}/console/{name}")
                    save(page, folder, name.partition("/")[0].removesuffix("s") if "/" in name else name)
                page.goto(f"{server.url}/console/history?what=executions")
                page.locator("a[data-open]").first.click()
                save(page, folder, "execution")
                page.goto(f"{server.url}/console/playground")
                page.locator("[data-run]").click()
                page.wait_for_selector("text=What came of it")
                save(page, folder, "playground")
                page.set_viewport_size({"width": 390, "height": 820})
                page.goto(f"{server.url}/console/reviews/{review}")
                save(page, folder, "phone")
            else:
                page.goto(f"{server.url}/console/overview")
                page.wait_for_timeout(11_000)  # for lines to draw
                save(page, folder, "overview")
        browser.close()


def main() -> None:
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as data:
        path = Path(data) / "policy.yaml"
        path.write_text(policy())
        server = Server(Path(data) / "data", path).start()
        try:
            draw(server, folder)
        finally:
            server.stop()


if __name__ == "__main__":
    main()
