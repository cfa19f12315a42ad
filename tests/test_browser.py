"""The built book in headless Chromium: every page at two widths, and what a reader does on it.

No error, nothing from outside, formulas drawn, folds that open, figures that answer; then search,
theme, sidebar and Colab, by keyboard; then bad weather: no JavaScript, no network, paper.
Screenshots for a person to look at are left in _build/screenshots.

Skipped where there is neither a Chromium or Chrome on the machine nor Playwright's own, and without
a built site.
"""

import json
import re
from pathlib import Path

import colab
import pytest
from tree import BUILD, ROOT, SITE, chapters, html
from visits import PAGES, PATIENCE, draw_formulas, open_page, served

from mdm_lab import information
from mdm_lab.widgets import breakpoints

pytestmark = pytest.mark.skipif(not SITE.exists(), reason="no site: make book")
VIEWS = {"wide": 1280, "narrow": 390}
LANDING, PLAIN, FORMULAS = PAGES[0], "book/how-to-use.html", "book/theory/ter-theorem.html"
PICTURED = [LANDING, FORMULAS, "book/experiments/ter-and-ser.html"]
ROOM = "() => document.documentElement.scrollWidth"


@pytest.fixture(scope="module")
def site():
    with served() as address:
        yield address


@pytest.fixture(scope="module", params=VIEWS)
def view(request, browser):
    width = VIEWS[request.param]
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme="light")
    yield context, width
    context.close()


@pytest.fixture
def opened(browser, site):
    """Opens a page in a context of its own: `opened(name, **settings of the context)`."""
    contexts = []

    def visit(name, width=1280, **settings):
        settings = {"color_scheme": "light", **settings}
        contexts.append(browser.new_context(viewport={"width": width, "height": 900}, **settings))
        page, wrong = open_page(contexts[-1], site, name)
        page.wrong = wrong
        return page

    yield visit
    for context in contexts:
        context.close()


# Every page


@pytest.mark.parametrize("name", PAGES)
def test_page_in_the_browser(view, site, name):
    context, width = view
    page, wrong = open_page(context, site, name)
    formulas, drawn, broken = page.evaluate(
        "['.math', 'mjx-container', 'mjx-merror, [data-mjx-error]']"
        ".map(what => document.querySelectorAll(what).length)"
    )
    assert broken == 0
    assert drawn >= formulas
    blank = "image => image.complete && !image.naturalWidth"
    assert page.evaluate(f"[...document.images].filter({blank}).map(i => i.src)") == []
    check_figures(page)
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        page.wait_for_function(f"document.documentElement.dataset.theme == '{scheme}'")
        assert page.evaluate(ROOM) <= width
        page.evaluate(f"document.querySelectorAll('details').forEach(p => p.open = {OPEN[scheme]})")
        assert page.evaluate(ROOM) <= width
    if width == VIEWS["wide"]:
        check_paper(page)
    assert wrong == []
    page.close()


OPEN = {"light": "true", "dark": "false"}


# Explorable figures


def check_figures(page):
    """Each one is alive, answers to its first control by key, says so, and shows true numbers."""
    for figure in page.locator("figure.mdm-explorable").all():
        live, said = figure.locator(".mdm-live"), figure.get_by_role("status").first
        assert live.count() == 1 and said.text_content().strip()
        before, spoken = live.inner_html(), said.text_content()
        control = figure.locator("button, select, input, [role=slider]").first
        control.focus()
        tag = control.evaluate("node => node.tagName")
        on, back = {"BUTTON": ("Enter",) * 2, "SELECT": ("ArrowDown", "ArrowUp")}.get(
            tag, ("ArrowRight", "ArrowLeft")
        )
        for key in [on] * 3 + [back] * 3:  # back where the first ends; some settings say the same
            page.keyboard.press(key)
            page.wait_for_timeout(600)  # a figure speaks twice a second at most
            if said.text_content() != spoken:
                break
        assert live.inner_html() != before
        assert said.text_content() not in ("", spoken)
        data = json.loads(figure.locator("script[type='application/json']").text_content())
        NUMBERS[figure.get_attribute("data-figure")](figure, data, said.text_content())


def settings(figure):
    """What stands at each control, under its name."""
    name = "node => node.labels[0].querySelector('.mdm-name').firstChild.textContent.trim()"
    return {
        control.evaluate(name): control.get_attribute("aria-valuetext") or control.input_value()
        for control in figure.locator("select, input").all()
    }


def check_unmask(figure, data, said):
    """The exact error rate beside the tally is that of the table the figure carries."""
    at = settings(figure)
    rate = data["languages"][int(at["Language"])]["exact"][at["Order"]]
    rate = rate[data["lengths"].index(int(at["Length L"]))]
    rate = rate[data["steps"].index(int(at["Steps N"]))] if at["Order"] == "random" else rate
    shown = figure.locator("dd").nth(2).text_content()
    if shown.startswith("below"):
        assert rate < 1e-4
    elif shown.startswith("above"):
        assert rate > 0.9995
    else:
        assert float(shown.rstrip("%")) == pytest.approx(100 * rate, rel=0.006)


def check_information_steps(figure, data, said):
    """Below the curve stands what the best steps lose, which the module computes again."""
    at = settings(figure)
    world, steps = data["worlds"][int(at["Language"])], at["Steps N"]
    lost = breakpoints.error(world, world["best"][steps])
    shown = figure.locator(".mdm-bars span").last.text_content()
    assert float(shown.split()[0]) == pytest.approx(lost, rel=0.006)


def check_theorem_curves(figure, data, said):
    """The steps that suffice for tokens are those of the module."""
    epsilon = float(settings(figure)["allowed loss ε"])
    shown = re.search(r"Tokens: ([\d,]+) steps? suffice", said)[1]
    assert int(shown.replace(",", "")) == information.steps_for_excess(epsilon)


def check_family(figure, data, said):
    """It tells what the module computed for the setting at which the controls stand."""
    number = 0
    controls = figure.locator("select, input").all()
    for control, field in zip(data["controls"], controls, strict=True):
        number = number * len(control["shown"]) + int(field.input_value())
    assert said == data["pool"][data["told"][number]]


def check_sentence(figure, data, said):
    """A finished sentence is called possible exactly if it is one of the law's."""
    page = figure.page
    figure.get_by_role("button", name=re.compile("rest|all at once", re.I)).first.click()
    page.wait_for_timeout(600)
    words = [word.strip() for word in figure.locator(".mdm-word").all_text_contents()]
    found = [row.index(word) for row, word in zip(data["words"], words, strict=True)]
    said = figure.get_by_role("status").first.text_content()
    assert said.startswith("Possible" if found in data["sentences"] else "Impossible")


NUMBERS = {
    "unmask-sentence": check_sentence,
    "unmask": check_unmask,
    "information-steps": check_information_steps,
    "theorem-curves": check_theorem_curves,
    "family": check_family,
}


def test_folds_open_by_mouse_and_by_keyboard(opened):
    page = opened(FORMULAS)
    for kind in ("details.sd-dropdown", "details.hide"):
        fold = page.locator(kind).first
        summary = fold.locator("summary").first
        assert fold.get_attribute("open") is None
        inside = fold.locator(":scope > :not(summary)").first
        assert not inside.is_visible()
        summary.click()
        assert inside.is_visible() and inside.inner_text().strip()
        summary.focus()
        page.keyboard.press("Enter")
        assert not inside.is_visible()
        page.keyboard.press("Space")
        assert inside.is_visible()


# Finding one's way


def test_search_finds_a_term_and_leads_to_it(opened):
    page = opened(PLAIN)
    page.keyboard.press("Control+k")
    page.wait_for_selector("#pst-search-dialog[open] input")
    page.keyboard.type("bisection")
    page.keyboard.press("Enter")
    page.wait_for_selector("#search-results li a")
    page.locator("#search-results li a").first.click()
    page.wait_for_url(re.compile(r"/book/.*\.html"))
    assert "bisection" in page.locator("article").inner_text().lower()
    place = page.evaluate("decodeURIComponent(location.hash.slice(1))")
    assert not place or page.evaluate("id => Boolean(document.getElementById(id))", place)
    assert page.wrong == []


def test_skip_link_leads_past_the_sidebar(opened):
    page = opened(PLAIN)
    page.keyboard.press("Tab")
    link = page.locator(":focus")
    assert link.inner_text() == "Skip to main content"
    page.wait_for_function("document.activeElement.getBoundingClientRect().y >= 0")  # it slides in
    box = link.bounding_box()
    assert box["x"] >= 0 and box["height"] > 10
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    assert page.evaluate("Boolean(document.activeElement.closest('#main-content'))")


def test_theme_switch_works_by_keyboard_and_is_remembered(opened):
    page = opened(PLAIN)
    switch = page.locator(".theme-switch-button:visible").first
    ground = "getComputedStyle(document.body).backgroundColor"
    assert page.evaluate("document.documentElement.dataset.theme") == "light"
    light = page.evaluate(ground)
    switch.focus()
    for _ in range(3):  # its order begins with the scheme of the system
        page.keyboard.press("Enter")
        if page.evaluate("document.documentElement.dataset.mode") == "dark":
            break
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    assert page.evaluate(ground) != light
    for link in (page.url, page.url.replace(PLAIN, LANDING)):
        page.goto(link)
        assert page.evaluate("document.documentElement.dataset.theme") == "dark"
        assert page.evaluate(ground) != light


def test_sidebar_opens_by_keyboard_on_a_narrow_screen(opened):
    page = opened(PLAIN, width=390)
    toggle = page.locator(".primary-toggle")
    sidebar = page.locator("#pst-primary-sidebar-modal")
    toggle.focus()
    page.keyboard.press("Enter")
    page.wait_for_selector("#pst-primary-sidebar-modal[open]")
    chapter = sidebar.get_by_role("link", name=re.compile("The TER theorem"))
    assert chapter.is_visible()
    assert page.evaluate("Boolean(document.activeElement.closest('dialog'))")
    page.keyboard.press("Escape")
    assert not sidebar.is_visible()
    page.wait_for_function("document.activeElement.matches('.primary-toggle')")
    page.keyboard.press("Enter")
    chapter.click()
    page.wait_for_url("**/" + FORMULAS)


def test_colab_button_leads_to_the_generated_edition(opened):
    path = chapters()[0]
    page = opened(html(path).relative_to(SITE).as_posix())
    page.get_by_role("button", name="Launch interactive content").focus()
    page.keyboard.press("Enter")
    link = page.locator("a", has_text="Colab").first
    link.wait_for(state="visible")
    place = (
        r"https://colab\.research\.google\.com/github/[\w.-]+/[\w.-]+/blob/([\w.-]+)/(.+\.ipynb)"
    )
    branch, notebook = re.fullmatch(place, link.get_attribute("href")).groups()
    assert link.get_attribute("href") == colab.colab_address(path)
    assert branch == "colab" and (ROOT / notebook).samefile(path)


# Speed


@pytest.mark.parametrize("name", sorted(PAGES, key=lambda n: -(SITE / n).stat().st_size)[:3])
def test_a_long_page_answers_within_a_second(browser, site, name):
    """Of processor time, so that a busy machine does not count, until the page can be used."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    page = context.new_page()
    meter = context.new_cdp_session(page)
    meter.send("Performance.enable", {"timeDomain": "threadTicks"})
    page.goto(site + name, wait_until="domcontentloaded")
    taken = {m["name"]: m["value"] for m in meter.send("Performance.getMetrics")["metrics"]}
    context.close()
    assert 0 < taken["TaskDuration"] < 1


# A look before a link is followed


@pytest.mark.parametrize("name", [FORMULAS, PLAIN])
def test_preview_by_mouse_and_by_keyboard(opened, name):
    page = opened(name)
    link = page.locator("article a.reference.internal[href*='#thm-']").first
    tip = page.locator("#preview")
    link.scroll_into_view_if_needed()
    link.hover()
    tip.wait_for(state="visible")
    page.wait_for_selector("#preview mjx-container")
    assert link.inner_text().split()[-1] in tip.inner_text()
    assert link.get_attribute("aria-describedby") == tip.get_attribute("id")
    box = tip.bounding_box()
    assert box["x"] >= 0 and box["x"] + box["width"] <= 1280
    tip.hover()
    page.wait_for_timeout(600)
    assert tip.is_visible()  # it stays while the pointer is on it
    page.keyboard.press("Escape")
    assert not tip.is_visible()
    link.focus()
    tip.wait_for(state="visible")
    page.keyboard.press("Escape")
    assert not tip.is_visible() and link.evaluate("node => node === document.activeElement")
    assert page.wrong == []


def test_preview_of_a_term_and_of_a_source(opened):
    for kind in ("references.html#", "glossary.html#term-"):
        page = opened(next(n for n in PAGES if f'href="../{kind}' in (SITE / n).read_text("utf-8")))
        link = page.locator(f"article a.reference.internal[href*='{kind}']:visible").first
        link.hover()
        page.locator("#preview").wait_for(state="visible")
        assert len(page.locator("#preview").inner_text()) > 20
        assert page.wrong == []


# Bad weather


def test_pages_read_without_javascript(browser, site):
    context = browser.new_context(
        java_script_enabled=False, viewport={"width": 390, "height": 900}, color_scheme="dark"
    )
    page, failures = context.new_page(), {}
    page.set_default_timeout(PATIENCE)
    for name in PAGES:
        page.goto(site + name, wait_until="load")  # with its style sheets
        found = page.evaluate(WITHOUT_SCRIPTS)
        if found:
            failures[name] = found
    context.close()
    assert failures == {}


# What a reader without scripts misses: text, maths, pictures, ways to other pages.
WITHOUT_SCRIPTS = """() => {
  const wrong = [], seen = (node) => node.checkVisibility({ visibilityProperty: true });
  const say = (what, nodes) => nodes.length && wrong.push([what, nodes[0].outerHTML.slice(0, 120)]);
  const all = (what) => [...document.querySelectorAll(what)];
  const folded = (node) => node.closest("details:not([open])");
  if (document.documentElement.dataset.theme !== "light") wrong.push(["no theme"]);
  if (document.querySelector("article").innerText.length < 300) wrong.push(["no text"]);
  say("hidden", all("article :is(p, li, td, th, pre, img, h1, h2, h3, dt, summary)")
    .filter((n) => !seen(n) && !folded(n.matches("summary") ? n.parentElement.parentElement : n)));
  say("no maths source", all(".math").filter((n) => !/\\\\[([]/.test(n.textContent)));
  say("no still picture", all("figure.mdm-explorable > img").filter((n) => !seen(n)));
  say("dead button", all("button").filter(seen));
  if (all("nav a").filter(seen).length < 20) wrong.push(["no way to other pages"]);
  if (document.documentElement.scrollWidth > innerWidth) wrong.push(["too wide"]);
  return wrong;
}"""


def check_paper(page):
    """Printed: the text, proofs and still pictures, and none of the screen's furniture."""
    page.emulate_media(media="print", color_scheme="light")
    page.wait_for_function("document.documentElement.dataset.theme == 'light'")
    assert page.evaluate(ON_PAPER) == []
    page.emulate_media(media="screen")


ON_PAPER = """() => {
  const seen = (node) => node.checkVisibility({ visibilityProperty: true });
  const all = (what) => [...document.querySelectorAll(what)].filter(seen);
  const furniture = "button, select, input, nav.bd-links, .bd-sidebar, .bd-sidebar-secondary, "
    + ".bd-header-article, .prev-next-footer, .mdm-live, #pst-skip-link";
  const hidden = (what) => [...document.querySelectorAll(what)].filter((node) => !seen(node));
  return [...all(furniture), ...hidden("figure.mdm-explorable > img"),
    ...hidden("details.sd-dropdown > :not(summary) p, article > section > p")]
    .map((node) => node.outerHTML.slice(0, 120));
}"""


def test_book_opens_from_a_folder_without_a_network(browser):
    context = browser.new_context(color_scheme="light", offline=True)
    page, wrong = context.new_page(), []
    page.set_default_timeout(PATIENCE)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("requestfailed", lambda request: wrong.append(request.url))
    page.goto((SITE / "index.html").as_uri())
    page.wait_for_url("**/" + LANDING)
    page.goto((SITE / FORMULAS).as_uri())
    draw_formulas(page)
    formulas, drawn = page.evaluate(
        "['.math', 'mjx-container'].map(what => document.querySelectorAll(what).length)"
    )
    assert drawn >= formulas > 50
    page.locator(".theme-switch-button:visible").first.click()
    assert page.evaluate("localStorage.getItem('mode')") != "auto"
    page.locator(".search-button__button:visible").first.click()
    assert wrong == []  # the search page fails to fetch the excerpts of its results, no more
    page.keyboard.type("bisection")
    page.keyboard.press("Enter")
    page.wait_for_selector("#search-results li a")
    page.locator("#search-results li a").first.click()
    page.wait_for_url(re.compile(r"/book/.*\.html"))
    context.close()


@pytest.mark.parametrize("width", [1280, 360])
@pytest.mark.parametrize("name", PICTURED)
def test_pictures_for_a_person_to_look_at(opened, name, width):
    page = opened(name, width=width)
    page.set_viewport_size({"width": width, "height": 2400})
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        page.wait_for_function(f"document.documentElement.dataset.theme == '{scheme}'")
        picture = BUILD / "screenshots" / f"{Path(name).stem}-{width}-{scheme}.png"
        page.screenshot(path=picture)
        assert picture.stat().st_size > 10_000
