"""axe-core on every built page, in both themes and at both widths; nothing moves unasked.

Skipped where there is neither a Chromium or Chrome on the machine nor Playwright's own, and without
a built site.
"""

from importlib.resources import files

import pytest
from tree import SITE
from visits import PAGES, open_page, served

pytestmark = pytest.mark.skipif(not SITE.exists(), reason="no site: make book")

AXE = files("axe_playwright_python").joinpath("axe.min.js").read_text(encoding="utf-8")
OF_COLOURS = ["color-contrast", "link-in-text-block"]
VIEWS = {
    "wide, light": (1280, "light", {}),
    "wide, dark": (1280, "dark", {"runOnly": OF_COLOURS}),
    "narrow, dark": (390, "dark", {"rules": {name: {"enabled": False} for name in OF_COLOURS}}),
}
# What is left standing: (rule, beginning of the element's HTML) -> why. It may stay empty; an entry
# that no page needs any more is an error.
ACCEPTED: dict[tuple[str, str], str] = {}
MATHS_PAGE = "book/notation.html"
# What is the same thousands of times over is looked at a few times, or axe takes minutes a page:
# the glyphs of a drawn formula, which are hidden from readers of the screen and have the colour of
# the text around them (one letter of the formula's width stands for them); the words of code, of
# which the first of each kind stays coloured; and the numbers behind a figure: four rows stay.
FEWER = """(glyphs) => {
  if (glyphs) {
    const drawn = [...document.querySelectorAll("mjx-math")];
    const widths = drawn.map((formula) => formula.getBoundingClientRect().width);
    drawn.forEach((formula, k) => {
      formula.textContent = "x";
      formula.style.display = "inline-block";
      formula.style.width = `${widths[k]}px`;
    });
    for (const spoken of document.querySelectorAll("mjx-assistive-mml")) spoken.textContent = "x";
  }
  const seen = new Set();
  for (const word of document.querySelectorAll(".highlight span[class]")) {
    if (seen.has(word.className)) word.replaceWith(...word.childNodes);
    seen.add(word.className);
  }
  for (const table of document.querySelectorAll("figure table")) {
    [...table.rows].slice(4).forEach((row) => row.remove());
  }
}"""
RUN = """async (options) => {
  const found = await axe.run(document, { resultTypes: ["violations"], ...options });
  return found.violations.flatMap(({ id, nodes }) => nodes.map((n) => [id, n.html.slice(0, 200)]));
}"""


@pytest.fixture(scope="module")
def site():
    with served() as address:
        yield address


@pytest.fixture(scope="module")
def context(browser):
    opened = browser.new_context(viewport={"width": 1280, "height": 900}, color_scheme="light")
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def needed():
    """The entries of ACCEPTED that some page needed."""
    return set()


def accepted(rule, element):
    return next((key for key in ACCEPTED if key[0] == rule and element.startswith(key[1])), None)


@pytest.mark.parametrize("name", [*PAGES, "search.html"])
def test_axe_finds_nothing(context, site, needed, name):
    page, _ = open_page(context, site, name)
    page.evaluate("document.querySelectorAll('details').forEach(part => part.open = true)")
    page.evaluate(FEWER, name != MATHS_PAGE)
    page.evaluate(AXE)
    found = []
    for view, (width, scheme, options) in VIEWS.items():
        page.set_viewport_size({"width": width, "height": 900})
        page.emulate_media(color_scheme=scheme)
        page.wait_for_function(f"document.documentElement.dataset.theme == '{scheme}'")
        page.wait_for_timeout(400)  # the theme lets what now scrolls be reached by keyboard
        for rule, element in page.evaluate(RUN, options):
            if key := accepted(rule, element):
                needed.add(key)
            else:
                found.append((view, rule, element))
    page.close()
    assert found == []


def test_what_is_accepted_still_occurs(needed):
    """Runs after the pages: an exception that is not needed must go."""
    assert set(ACCEPTED) == needed


def test_axe_would_find_something(context):
    page = context.new_page()
    page.set_content("<html lang='en'><title>x</title><main><h1>x</h1><img src=''></main></html>")
    page.evaluate(AXE)
    assert [rule for rule, _ in page.evaluate(RUN, {})] == ["image-alt"]
    page.close()


@pytest.mark.parametrize("name", [PAGES[0], "book/theory/ter-theorem.html"])
def test_nothing_moves_for_those_who_asked_for_that(browser, site, name):
    opened = browser.new_context(reduced_motion="reduce")
    page, _ = open_page(opened, site, name)
    page.evaluate("document.querySelectorAll('details').forEach(part => part.open = true)")
    moving = page.evaluate(
        """() => [...document.querySelectorAll("*")].flatMap((node) => ["", "::before", "::after"]
             .map((part) => getComputedStyle(node, part || undefined))
             .filter((style) => style.animationName !== "none" || style.scrollBehavior === "smooth"
               || /[1-9]/.test(style.transitionDuration))
             .map(() => node.outerHTML.slice(0, 100)))"""
    )
    opened.close()
    assert moving == []
