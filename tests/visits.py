"""A visit of a built page in the browser, and what goes wrong on the way."""

import functools
import http.server
import threading
from contextlib import contextmanager

from tree import SITE, html, pages

PATIENCE = 60_000  # milliseconds; a busy machine is slow, not wrong
PAGES = [html(path).relative_to(SITE).as_posix() for path, _ in pages()]


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *arguments):
        pass


@contextmanager
def served():
    """The site's address on this machine, while it is served there."""
    handler = functools.partial(_Quiet, directory=SITE)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}/"
        running.shutdown()


def open_page(context, site, name):
    """The page, once its formulas are drawn, and the list of all that goes wrong on it."""
    page, wrong = context.new_page(), []
    page.set_default_timeout(PATIENCE)
    page.on("pageerror", lambda error: wrong.append(f"error: {error}"))
    page.on("console", lambda m: wrong.append(f"console: {m.text}") if m.type == "error" else None)
    page.on("requestfailed", lambda request: wrong.append(f"failed: {request.url}"))
    page.on("response", lambda r: wrong.append(f"{r.status}: {r.url}") if r.status >= 400 else None)

    def route(asked):
        if asked.request.url.startswith((site, "data:", "blob:")):
            asked.continue_()
        else:
            wrong.append(f"request to outside: {asked.request.url}")
            asked.abort()

    page.route("**/*", route)
    page.goto(site + name, wait_until="load")
    draw_formulas(page)
    return page, wrong


def draw_formulas(page):
    """Wait until MathJax has drawn them all; a page without formulas does not wait."""
    if page.evaluate("Boolean(document.querySelector('.math'))"):
        page.wait_for_function("window.MathJax && MathJax.startup && MathJax.startup.promise")
        page.evaluate("MathJax.startup.promise")
