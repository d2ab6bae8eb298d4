"""JupyterLab in Chromium, as a person uses it: log in, write a notebook, run its cells, restart, save, come back."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fixtures.chromium import log_in
from fixtures.instance import RunningInstance

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

SERVER_WITHIN_MS = 150_000
KERNEL_WITHIN_MS = 60_000


@dataclass
class Lab:
    """One person's notebook server in a browser's page."""

    page: Page
    running: RunningInstance
    user: str

    @property
    def url(self) -> str:
        return f"{self.running.url}/user/{self.user}"

    def enter(self) -> None:
        """Log in by the form, and have the server started if it does not run."""
        log_in(self.page, self.running, self.user, "/hub/login?next=%2Fhub%2Fspawn")
        self.page.wait_for_url(re.compile(rf"/user/{self.user}/lab"), timeout=SERVER_WITHIN_MS)

    def write(self, name: str, *cells: str) -> None:
        """Put a notebook with these code cells into the home, as JupyterLab does when it saves."""
        code = [
            {"cell_type": "code", "id": f"cell-{n}", "metadata": {}, "outputs": [], "execution_count": None, "source": text}
            for n, text in enumerate(cells)
        ]
        kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3 (ipykernel)", "language": "python"}}
        content = {"cells": code, "metadata": kernel, "nbformat": 4, "nbformat_minor": 5}
        self._api("PUT", f"contents/{name}", {"type": "notebook", "content": content})

    def open(self, name: str, *, app: str = "lab/tree") -> None:
        """Open a notebook, alone, and wait for its kernel."""
        self.page.goto(f"{self.url}/{app}/{name}?reset")
        self.page.locator(".jp-NotebookPanel").wait_for(timeout=KERNEL_WITHIN_MS)
        if app == "lab/tree":
            self.page.get_by_text("| Idle").wait_for(timeout=KERNEL_WITHIN_MS)
        else:
            self.page.locator(".jp-NotebookKernelStatus, .jp-Notebook-ExecutionIndicator[data-status=idle]").first.wait_for(timeout=KERNEL_WITHIN_MS)

    def cell(self, number: int) -> Locator:
        return self.page.locator(".jp-Notebook .jp-Cell").nth(number)

    def run(self, number: int) -> Locator:
        """Run a cell and wait until it has ended; its output."""
        cell = self.cell(number)
        cell.locator(".jp-InputArea-editor").click()
        self.page.keyboard.press("Shift+Enter")
        cell.locator(".jp-InputPrompt", has_text=re.compile(r"\[\d+\]:")).wait_for(timeout=KERNEL_WITHIN_MS)
        return cell.locator(".jp-OutputArea").first

    def choose(self, menu: str, *items: str) -> None:
        """Choose from the menu bar, as `("File", "Save")`; each item by its beginning."""
        self.page.locator(".lm-MenuBar-itemLabel", has_text=re.compile(f"^{menu}$")).click()
        for item in items:
            self.page.locator(".lm-Menu-itemLabel:visible", has_text=re.compile(f"^{re.escape(item)}")).first.click()

    def restart(self) -> None:
        """Restart the kernel: what it held is gone."""
        self.choose("Kernel", "Restart Kernel…")
        self.page.locator(".jp-Dialog-buttonLabel", has_text=re.compile("^Restart$")).click()
        self.page.get_by_text("| Idle").wait_for(timeout=KERNEL_WITHIN_MS)

    def saved(self, name: str) -> str:
        """Save the notebook that is open; its text as it then lies in the home."""
        with self.page.expect_response(lambda answer: answer.request.method == "PUT" and f"contents/{name}" in answer.url):
            self.page.locator(".jp-NotebookPanel").press("Control+s")
        return json.dumps(self._api("GET", f"contents/{name}?content=1")["content"])

    def end_kernels(self) -> None:
        for session in self._api("GET", "sessions"):
            self._api("DELETE", f"sessions/{session['id']}")

    def _api(self, method: str, path: str, body: Any = None) -> Any:
        place = f"/user/{self.user}/"
        tokens = [c for c in self.page.context.cookies() if c["name"] == "_xsrf" and place.startswith(c["path"])]
        headers = {"X-XSRFToken": max(tokens, key=lambda c: len(c["path"]))["value"], "Content-Type": "application/json"}
        data = None if body is None else json.dumps(body)
        answer = self.page.request.fetch(f"{self.url}/api/{path}", method=method, headers=headers, data=data)
        assert answer.ok, answer.text()[:500]
        return None if answer.status == 204 else answer.json()
