"""Every page in headless Chromium: no error, nothing from outside, formulas drawn, phones served.

Skipped where there is neither a Chromium or Chrome on the machine nor Playwright's own, and without
a built site.
"""

import functools
import http.server
import threading

import pytest
from tree import SITE, html, pages

pytestmark = pytest.mark.skipif(not SITE.exists(), reason="no site: make book")
PAGES = [html(path).relative_to(SITE).as_posix() for path, _ in pages()]
VIEWS = {"wide": 1280, "narrow": 390}


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *arguments):
        pass


@pytest.fixture(scope="module")
def server():
    handler = functools.partial(Quiet, directory=SITE)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}/"
        running.shutdown()


@pytest.fixture(scope="module", params=VIEWS)
def view(request, browser):
    width = VIEWS[request.param]
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme="light")
    yield context, width
    context.close()


def open_page(context, server, name):
    """The page, once it has settled, and everything that went wrong on the way."""
    page, wrong = context.new_page(), []
    page.on("pageerror", lambda error: wrong.append(f"error: {error}"))
    page.on("console", lambda m: wrong.append(f"console: {m.text}") if m.type == "error" else None)

    def route(request):
        if request.request.url.startswith((server, "data:", "blob:")):
            request.continue_()
        else:
            wrong.append(f"request to outside: {request.request.url}")
            request.abort()

    page.route("**/*", route)
    page.goto(server + name, wait_until="load")
    if page.evaluate("Boolean(document.querySelector('.math'))"):
        page.wait_for_function("window.MathJax && MathJax.startup && MathJax.startup.promise")
        page.evaluate("MathJax.startup.promise")
    return page, wrong


@pytest.mark.parametrize("name", PAGES)
def test_page_in_the_browser(view, server, name):
    context, width = view
    page, wrong = open_page(context, server, name)
    formulas, drawn, broken = page.evaluate(
        "['.math', 'mjx-container', 'mjx-merror, [data-mjx-error]']"
        ".map(what => document.querySelectorAll(what).length)"
    )
    assert broken == 0
    assert drawn >= formulas
    figures, live = page.evaluate(
        "['.mdm-explorable', '.mdm-explorable[data-mounted] .mdm-live']"
        ".map(what => document.querySelectorAll(what).length)"
    )
    assert figures == live
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        page.wait_for_function(f"document.documentElement.dataset.theme == '{scheme}'")
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        page.evaluate("document.querySelectorAll('details').forEach(part => part.open = true)")
        assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert wrong == []
    page.close()


def test_search_finds_a_word(browser, server):
    page = browser.new_page()
    page.goto(f"{server}search.html?q=mask", wait_until="load")
    page.wait_for_selector("#search-results li")
    page.close()
