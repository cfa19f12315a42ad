"""Settings that every test file needs before it imports anything; the browser of some of them."""

import matplotlib
import pytest
from tree import find_browser

matplotlib.use("agg")  # not by MPLBACKEND: kernels that a test starts would inherit it

FLAGS = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update"),
]


@pytest.fixture(scope="module")
def browser():
    """Headless Chromium that asks the network nothing; skips where there is none."""
    executable = find_browser()
    if executable is None:
        pytest.skip("no Chromium or Chrome on this machine")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=executable, args=FLAGS)
        yield launched
        launched.close()
