"""The Chromium that a machine has, for tests that look at pages; skipped with a reason where there is none."""

from collections.abc import Iterator
from contextlib import contextmanager
from shutil import which
from typing import Any

import pytest

BROWSER = next(filter(None, map(which, ("chromium", "chromium-browser", "google-chrome"))), None)
QUIET = ("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync")  # fmt: skip


def needs_browser(test: Any) -> Any:
    """Marks a test that starts a browser, which takes seconds: it runs with `make test-more`, where there is one."""
    return pytest.mark.more(pytest.mark.skipif(BROWSER is None, reason="no Chromium on this machine")(test))


@contextmanager
def browser_context(**settings: Any) -> Iterator[Any]:
    """A fresh profile of a headless browser."""
    if BROWSER is None:
        pytest.skip("no Chromium on this machine")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=BROWSER, args=QUIET)
        yield browser.new_context(viewport={"width": 1600, "height": 1000}, **settings)
        browser.close()
