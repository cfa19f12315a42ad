"""The explorable figures: the same bytes everywhere, the mathematics of the module, usable by all.

The second half runs them in headless Chromium, on a page that holds nothing else.
"""

import json
import os
import re
import subprocess
import sys
import tomllib
import xml.etree.ElementTree as ElementTree
from contextlib import contextmanager
from functools import cache
from html import escape
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import policy
import pytest
from bs4 import BeautifulSoup
from nbformat.v4 import new_code_cell, new_output
from tree import ROOT

from mdm_lab import exact, information, orders, widgets
from mdm_lab.languages import NGram, pairs
from mdm_lab.metrics import clopper_pearson
from mdm_lab.plotting import COLOURS, MASKED
from mdm_lab.posterior import ImpossibleEvidence
from mdm_lab.schedules import reveal_from_widths, reveal_probabilities
from mdm_lab.widgets import bounds, breakpoints, explorable, unmasking

FIGURES = {
    "unmask": widgets.unmask,
    "information-steps": widgets.information_steps,
    "theorem-curves": widgets.theorem_curves,
}
every_figure = pytest.mark.parametrize("name", FIGURES)


@cache
def figure(name):
    return FIGURES[name]()


@cache
def data(name):
    """What the script of a figure reads."""
    script = BeautifulSoup(figure(name).html, "html.parser").find("script", type="application/json")
    return json.loads(script.string)


# The output of a cell


@every_figure
def test_html_is_the_same_in_another_process(name):
    code = (
        "import sys, mdm_lab.widgets as w\n"
        "sys.stdout.reconfigure(encoding='utf-8')\n"
        f"print(w.{FIGURES[name].__name__}().html, end='')"
    )
    run = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        check=True,
        env={**os.environ, "PYTHONHASHSEED": "1"},
    )
    assert run.stdout.decode() == FIGURES[name]().html


@every_figure
def test_html_holds_everything_and_nothing_twice(name):
    html = figure(name).html
    soup = BeautifulSoup(html, "html.parser")
    assert len(html) <= 60_000
    assert [tag.name for tag in soup.find_all(src=True)] == ["img"]
    assert soup.find("img")["src"].startswith("data:image/svg+xml,")
    assert not soup.find_all(id=True) and not soup.find_all(href=True)
    assert not re.search(r"\burl\(|@import", str(soup.find("style")))
    assert not any("//" in re.sub(r"(^|\s)//[^\n]*", "", s.string) for s in soup.find_all("script"))


@every_figure
def test_every_number_is_rounded(name):
    def floats(value):
        if isinstance(value, dict | list):
            for entry in value.values() if isinstance(value, dict) else value:
                yield from floats(entry)
        elif isinstance(value, float):
            yield value

    numbers = list(floats(data(name)))
    assert numbers and all(round(x, explorable.DECIMALS) == x for x in numbers)
    assert all(str(x) != "-0.0" for x in numbers)


@every_figure
def test_still_picture_is_drawn_and_described(name):
    shown = figure(name)
    picture = BeautifulSoup(shown.html, "html.parser").find("img")
    tree = ElementTree.fromstring(unquote(picture["src"].split(",", 1)[1]))
    assert tree.tag.endswith("}svg") and len(tree) > 10
    assert len(picture["src"]) <= 40_000
    wide, high = (float(tree.get(side)) for side in ("width", "height"))
    for x, y in re.findall(r"[ML](-?[\d.]+) (-?[\d.]+)", picture["src"]):
        assert 0 <= float(x) <= wide and 0 <= float(y) <= high
    assert picture["alt"] == shown.alt and len(shown.alt) > 100


@every_figure
def test_output_passes_the_policy_of_notebooks(name):
    bundle = figure(name)._repr_mimebundle_()
    assert set(bundle) == {"text/html", "text/plain"} and len(bundle["text/plain"]) < 500
    output = new_output("execute_result", bundle, execution_count=1)
    assert policy._output(new_code_cell("x"), output) == []
    undescribed = {**bundle, "text/html": bundle["text/html"].replace(escape(figure(name).alt), "")}
    output = new_output("execute_result", undescribed, execution_count=1)
    assert policy._output(new_code_cell("x"), output) != []


def test_a_word_in_the_data_cannot_end_the_script():
    world = NGram(np.full(2, 0.5), np.full((2, 2), 0.5)), 3, "a & b"
    shown = widgets.information_steps({"</script><b>": world})
    soup = BeautifulSoup(shown.html, "html.parser")
    assert soup.find("b") is None and len(soup.find_all("script")) == 2
    assert json.loads(soup.find("script").string)["worlds"][0]["name"] == "</script><b>"


def test_scripts_are_part_of_the_package():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    patterns = settings["tool"]["setuptools"]["package-data"]["mdm_lab.widgets"]
    folder = Path(widgets.__file__).parent
    packed = {path.name for pattern in patterns for path in folder.glob(pattern)}
    needed = {"style.css", *(part for parts in explorable.SCRIPTS.values() for part in parts)}
    assert packed == needed
    for name in needed:
        assert len((folder / name).read_text(encoding="utf-8").splitlines()) <= 300


def test_scripts_draw_in_the_colours_of_the_book():
    assert (
        f"const COLOURS = {json.dumps(COLOURS)}, MASKED = {json.dumps(MASKED)};"
        in figure("unmask").html
    )


@pytest.mark.parametrize(
    "wrong", [{"language": "french"}, {"length": 12}, {"order": "left"}, {"steps": 3}]
)
def test_unmask_refuses_what_it_does_not_offer(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        widgets.unmask(**wrong)


def test_information_steps_refuses_what_it_cannot_draw():
    with pytest.raises(ValueError, match="steps"):
        widgets.information_steps(steps=9)
    with pytest.raises(ValueError, match="steps"):
        widgets.information_steps(steps=1)
    with pytest.raises(ValueError, match="worlds"):
        widgets.information_steps({})


# The numbers that Python puts into the figures


def test_exact_error_rates_of_pairs_are_those_of_enumeration():
    table = data("unmask")["languages"][0]["exact"]
    for length in (8,):
        column = unmasking.LENGTHS.index(length)
        given = {
            "single": np.arange(length)[::-1],
            "bisection": orders.bisection(length),
            "odd_even": orders.odd_even(length),
        }
        for order, steps in given.items():
            by_force = exact.sequence_error_rate_in_order(pairs(2), steps)
            assert table[order][column] == pytest.approx(by_force, abs=1e-9)
    with_clashes = np.array([0, 0, 1, 0, 2, 2, 1, 2])
    by_force = exact.sequence_error_rate_in_order(pairs(2), with_clashes)
    assert unmasking.pairs_in_order(with_clashes) == pytest.approx(by_force, abs=1e-12)


def test_exact_error_rates_of_random_steps():
    shown = data("unmask")
    chain = NGram.random(2, 4, prune=0.1, rng=0)
    for row, length in enumerate(unmasking.LENGTHS[:2]):
        for column, n in enumerate(unmasking.STEPS[:4]):
            reveal = reveal_probabilities("linear", n)
            found = [lang["exact"]["random"][row][column] for lang in shown["languages"]]
            assert found[0] == pytest.approx(exact.pairs_sequence_error_rate(2, length, reveal))
            assert found[1] == pytest.approx(exact.sequence_error_rate(chain, length, reveal))


@pytest.mark.parametrize("index", range(4))
def test_curves_and_best_steps_are_those_of_the_module(index):
    lang, length, _ = list(breakpoints.worlds_shown().values())[index]
    world = data("information-steps")["worlds"][index]
    for steps in (2, 3, 5, 8):
        best = np.diff([0, *world["best"][str(steps)], 1])
        for widths in (best, np.random.default_rng(steps).dirichlet(np.ones(steps))):
            true = information.factorisation_error(lang, length, reveal_from_widths(widths))
            inner = np.cumsum(widths)[:-1].tolist()
            assert breakpoints.error(world, inner) == pytest.approx(true / length, abs=1e-8)
            assert breakpoints.error(world, best.cumsum()[:-1].tolist()) <= true / length + 1e-8


# In the browser


@contextmanager
def shown(browser, *names, head="", html=None, silent=True, **context):
    """A page that holds the figures of these names; afterwards nothing must have gone wrong."""
    context = {"viewport": {"width": 900, "height": 900}, **context}
    opened, wrong = browser.new_context(**context), []
    page = opened.new_page()
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda m: wrong.append(m.text) if m.type in ("error", "warning") else None)
    page.on("request", lambda r: None if r.url.startswith("data:") else wrong.append(r.url))
    body = html or "".join(figure(name).html for name in names)
    page.set_content(
        "<!doctype html><html lang='en'><head><title>Figures</title>"
        f"<meta name='viewport' content='width=device-width'>{head}</head>"
        f"<body>{body}</body></html>"
    )
    yield page
    if silent:
        assert wrong == []
    opened.close()


def status(page):
    """What the live region says once it has settled."""
    page.wait_for_timeout(600)
    return page.get_by_role("status").first.text_content()


def press(page, name):
    page.get_by_role("button", name=name, exact=True).click()


@pytest.fixture(scope="module")
def lab(browser):
    """A page with all three figures, for their functions."""
    with shown(browser, *FIGURES) as page:
        yield page


def as_the_script_has_it(entry):
    """The language of a figure, from the rounded numbers that it was handed."""
    if entry["kind"] == "pairs":
        return pairs(entry["vocab"])
    rows = np.array([entry["initial"], *entry["transition"]])
    rows /= rows.sum(axis=1, keepdims=True)
    return NGram(rows[0], rows[1:])


@pytest.mark.parametrize("index", range(2))
def test_posteriors_and_conflicts_are_exact(lab, index):
    entry = data("unmask")["languages"][index]
    lang = as_the_script_has_it(entry)
    rng = np.random.default_rng(index)
    xt = lang.sample(200, 16, rng)
    xt[100:] = rng.integers(lang.vocab_size, size=(100, 16))  # most of these are impossible
    xt[rng.random(xt.shape) < rng.random((200, 1))] = lang.mask_id
    answers, conflicts = lab.evaluate(
        """([entry, rows]) => {
          const lang = mdmLab.unmask.languageOf(entry);
          const oneHot = (c) => Array.from({ length: entry.vocab }, (_, b) => Number(b === c));
          return [
            rows.map((x) => x.map((c, i) => c < entry.vocab ? oneHot(c) : lang.posteriorAt(x, i))),
            rows.map((x) => lang.conflicts(x)),
          ];
        }""",
        [entry, xt.tolist()],
    )
    exactly = lang.posterior(xt, off_support="local")
    assert np.abs(np.array(answers) - exactly).max() < 1e-12
    try:
        lang.posterior(xt)
        impossible = set()
    except ImpossibleEvidence as error:
        impossible = set(error.rows)
    assert len(impossible) > 20
    assert {row for row, found in enumerate(conflicts) if found} == impossible


@pytest.mark.parametrize("order", unmasking.ORDERS)
@pytest.mark.parametrize("index", range(2))
def test_sampled_error_rate_agrees_with_the_exact_one(lab, index, order):
    num, length, steps = 2000, 16, 4
    wrong = lab.evaluate(
        """([data, index, order, num, length, steps]) => {
          const random = mdmLab.seeded(7), { languageOf, drawOrder, generate } = mdmLab.unmask;
          const lang = languageOf(data.languages[index]);
          let wrong = 0;
          for (let run = 0; run < num; run++) {
            const [order_, count] = drawOrder(data, order, length, steps, random);
            const states = generate(lang, order_, count, random);
            if (states.length !== count + 1 || states[count].includes(lang.vocab)) return -1;
            if (lang.conflicts(states[count]).length) wrong++;
          }
          return wrong;
        }""",
        [data("unmask"), index, order, num, length, steps],
    )
    rate = data("unmask")["languages"][index]["exact"][order]
    rate = rate[unmasking.LENGTHS.index(length)]
    rate = rate[unmasking.STEPS.index(steps)] if order == "random" else rate
    low, high = clopper_pearson(wrong, num, confidence=0.999)
    assert low <= rate <= high
    assert (rate == 0) == (wrong == 0)


def test_random_numbers_are_uniform_and_repeatable(lab):
    draw = "([seed, n]) => { const r = mdmLab.seeded(seed); return Array.from({length: n}, r); }"
    numbers = np.array(lab.evaluate(draw, [3, 20_000]))
    assert (lab.evaluate(draw, [3, 20_000]) == numbers).all()
    assert numbers.min() >= 0 and numbers.max() < 1
    counts = np.histogram(numbers, 20, (0, 1))[0]
    assert ((counts - 1000) ** 2 / 1000).sum() < 50  # chi-square with 19 degrees: chance 1e-4
    assert abs(np.corrcoef(numbers[1:], numbers[:-1])[0, 1]) < 0.03


@pytest.mark.parametrize("wrong, num", [(0, 5), (5, 5), (37, 200), (1, 3000)])
def test_interval_is_clopper_and_pearsons(lab, wrong, num):
    found = lab.evaluate("([k, n]) => mdmLab.unmask.clopperPearson(k, n, 0.95)", [wrong, num])
    assert found == pytest.approx(clopper_pearson(wrong, num), abs=1e-9)


@pytest.mark.parametrize("index", range(4))
def test_riemann_error_is_the_factorisation_error(lab, index):
    lang, length, _ = list(breakpoints.worlds_shown().values())[index]
    world = data("information-steps")["worlds"][index]
    for steps in range(2, 9):
        widths = np.random.default_rng(steps).dirichlet(np.ones(steps))
        true = information.factorisation_error(lang, length, reveal_from_widths(widths)) / length
        inner = np.cumsum(widths)[:-1].tolist()
        found = lab.evaluate(
            "([c, u]) => mdmLab.informationSteps.riemannError(c, u)", [world["coefficients"], inner]
        )
        assert found == pytest.approx(true, abs=1e-8)
        uniform = lab.evaluate("(n) => mdmLab.informationSteps.uniformSteps(n)", steps)
        assert uniform == pytest.approx(np.arange(1, steps) / steps)


def test_bounds_are_those_of_the_module(lab):
    given = data("theorem-curves")
    v = given["vocab"]

    def script(name, *arguments):
        return lab.evaluate("([f, a]) => mdmLab.theoremCurves[f](...a)", [name, arguments])

    for epsilon in given["epsilons"]:
        assert script("stepsForExcess", epsilon) == information.steps_for_excess(epsilon)
        for n in given["orders"]:
            talk = information.ngram_steps(n, epsilon)
            assert script("ngramSteps", n, epsilon) == pytest.approx(talk, rel=1e-12)
    for learning in given["learning"]:
        mismatch = script("leastMismatch", v, learning)
        assert mismatch == pytest.approx(information.least_mismatch(v, learning), abs=1e-9)
        per_token = information.steps_per_token(v, learning)
        assert script("stepsPerToken", v, learning) == pytest.approx(per_token, abs=1e-9)
        for length, steps in ((8, 1), (64, 48), (4096, 65536)):
            reveal = reveal_probabilities("linear", steps)
            lower = information.pairs_lower_bound(v, length, reveal, learning)
            assert script("pairsErrorRate", mismatch, length, steps) == pytest.approx(lower)
            total = length * np.log(v)
            upper = information.sequence_error_bound(length, reveal, total, learning)
            assert script("upperBound", v, length, steps, learning) == pytest.approx(upper)
    for length, steps in ((8, 1), (64, 48)):
        reveal = reveal_probabilities("linear", steps)
        true = exact.pairs_sequence_error_rate(v, length, reveal)
        assert script("pairsErrorRate", 1 - 1 / v, length, steps) == pytest.approx(true)


def tokens_drawn(page):
    """(the tokens, None at a mask; the conflicts as pairs of places from 0), as they are told."""
    label = page.get_by_role("img", name=re.compile("^After step")).get_attribute("aria-label")
    told, conflicts = re.fullmatch(
        r"After step \d+ of \d+: (.*)\. Conflicts: (.*)\.", label
    ).groups()
    tokens = [None if token == "m" else int(token) for token in told.split()]
    places = [tuple(int(n) - 1 for n in pair) for pair in re.findall(r"(\d+) and (\d+)", conflicts)]
    return tokens, places


@pytest.mark.parametrize("language", unmasking.LANGUAGES)
def test_conflicts_are_marked_as_soon_as_they_appear(browser, language):
    html = widgets.unmask(language=language, length=32, steps=2).html
    forbidden = NGram.random(2, 4, prune=0.1, rng=0).transition == 0

    def clash(x, i):
        if None in x[i : i + 2] or len(x[i : i + 2]) < 2:
            return False
        return forbidden[x[i], x[i + 1]] if language == "chain" else i % 2 == 0 and x[i] != x[i + 1]

    with shown(browser, html=html) as page:
        seen = 0
        for step in range(1, 3):
            press(page, "Step")
            x, conflicts = tokens_drawn(page)
            assert conflicts == [(i, i + 1) for i in range(32) if clash(x, i)]
            drawing = page.get_by_role("img", name=re.compile("^After step"))
            assert drawing.locator("circle").count() == len(conflicts)
            outlined = drawing.locator(f"rect[stroke='{COLOURS[1]}']").count()
            assert outlined == len({i for pair in conflicts for i in pair})
            said = status(page)
            assert said.startswith(f"Step {step} of 2")
            assert ("cannot stand together" in said) == bool(conflicts)
            if len(conflicts) > seen:
                assert "Conflict: tokens " in said
            seen = len(conflicts)
        assert seen and said.endswith("Finished: wrong.")
        assert None not in x


def test_tally_counts_each_sequence_once(browser):
    def finished():
        return page.locator("dd").first.text_content()

    with shown(browser, "unmask") as page:
        assert finished() == "0"
        for name in ("Step", "Step", "Back", "Step", "Step", "Step", "Back", "Step"):
            press(page, name)
        assert finished() == "1"
        step = page.get_by_role("button", name="Step", exact=True)
        assert step.get_attribute("aria-disabled") == "true"
        step.click(force=True)  # greyed out: nothing happens
        assert finished() == "1"
        press(page, "New sample")
        assert finished() == "1"
        press(page, "New sample")  # the one before was left half-way, and counts all the same
        assert finished() == "2"
        press(page, "Run 100 more")
        assert finished() == "102"
        truth = data("unmask")["languages"][0]["exact"]["random"][1][2]
        assert page.locator("dd").nth(2).text_content() == f"{100 * truth:.1f}%"
        page.get_by_label("Order").select_option("bisection")
        assert finished() == "0"
        assert page.locator("dd").nth(2).text_content() == "0%"
        press(page, "Run 100 more")
        assert page.locator("dd").nth(1).text_content().startswith("0% (95%: 0% to 3.62%)")


def tab_to(page, role, name):
    """Press Tab until the control of this role and name has the focus."""
    target = page.get_by_role(role, name=name, exact=True)
    for _ in range(30):
        page.keyboard.press("Tab")
        if target.evaluate("node => node === document.activeElement"):
            return target
    raise AssertionError(f"Tab does not reach {role} {name}")


def test_unmask_by_keyboard_alone(browser):
    with shown(browser, "unmask") as page:
        before = status(page)
        language = tab_to(page, "combobox", "Language")
        page.keyboard.press("ArrowDown")
        assert language.input_value() == "1"
        assert (changed := status(page)) != before
        for name in ("Length L", "Order", "Steps N"):
            field = tab_to(page, "combobox", name)
            value = field.input_value()
            page.keyboard.press("ArrowUp" if name == "Steps N" else "ArrowDown")
            if name == "Order":
                page.keyboard.press("ArrowUp")
                assert field.input_value() == value
            else:
                assert field.input_value() != value
        tab_to(page, "button", "Step")
        page.keyboard.press("Enter")
        assert status(page).startswith("Step 1 of ") and status(page) != changed
        tab_to(page, "button", "Play")
        page.keyboard.press("Space")
        page.wait_for_timeout(1500)
        assert status(page).startswith("Step 2 of ")
        for name in ("Back", "New sample", "Run 100 more"):
            tab_to(page, "button", name)
            page.keyboard.press("Enter")
        assert "sequences finished" in status(page)


def test_information_steps_by_keyboard_alone(browser):
    with shown(browser, "information-steps", viewport={"width": 900, "height": 400}) as page:
        before = status(page)
        page.evaluate("window.heard = 0; addEventListener('keydown', () => window.heard++)")
        knob = tab_to(page, "slider", "Breakpoint 1 of 3")
        place, heard = page.evaluate("[scrollY, heard]")
        for key, value in (
            *(("ArrowLeft", 0.24), ("ArrowDown", 0.23), ("ArrowRight", 0.24), ("ArrowUp", 0.25)),
            *(("PageUp", 0.3), ("PageDown", 0.25), ("Shift+ArrowRight", 0.251)),
            *(("Home", 0.002), ("ArrowLeft", 0.002), ("End", 0.498), ("PageUp", 0.498)),
        ):
            page.keyboard.press(key)
            assert float(knob.get_attribute("aria-valuenow")) == pytest.approx(value, abs=1e-9)
            assert knob.evaluate("node => node === document.activeElement")
        assert page.evaluate("scrollY") == place  # its keys do not scroll the page
        assert page.evaluate("heard") == heard + 1  # nor reach it, but for the key Shift itself
        assert float(knob.get_attribute("aria-valuemax")) == 0.498
        assert "more than uniform steps" in status(page) and status(page) != before
        ring = knob.locator(".mdm-ring")
        assert ring.evaluate("node => getComputedStyle(node).visibility") == "visible"
        tab_to(page, "button", "Best steps")
        page.keyboard.press("Enter")
        assert "as much as the best" in status(page)
        tab_to(page, "combobox", "Steps N")
        page.keyboard.press("ArrowDown")
        assert page.get_by_role("slider").count() == 4
        assert "as much as uniform steps" in status(page)


def test_theorem_curves_by_keyboard_alone(browser):
    names = (
        "length L",
        "allowed loss ε",
        "order n of the n-gram",
        "steps N",
        "learning error, nats",
    )
    with shown(browser, "theorem-curves") as page:
        for name in names:
            field = tab_to(page, "slider", name)
            told, rows = (
                field.get_attribute("aria-valuetext"),
                page.locator("b").all_text_contents(),
            )
            page.keyboard.press("ArrowRight")
            assert field.get_attribute("aria-valuetext") != told
            assert page.locator("b").all_text_contents() != rows
        assert status(page).startswith("L = 128. Tokens: 4 steps suffice at ε = 0.07")
        exactly = information.ngram_steps(3, 0.07)
        assert page.locator("b").first.text_content() == f"{exactly:,}"


@pytest.mark.parametrize("width", [900, 360])
def test_breakpoints_are_dragged(browser, width):
    viewport = {"width": width, "height": 900}
    with shown(browser, "information-steps", viewport=viewport) as page:
        knob = page.get_by_role("slider", name="Breakpoint 2 of 3")
        box = knob.locator("rect").bounding_box()
        x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
        plot = page.locator("svg svg").first.bounding_box()
        page.mouse.move(x, y)
        page.mouse.down()
        page.mouse.move(x + plot["width"] * 0.1, y + 60, steps=4)
        page.mouse.up()
        assert float(knob.get_attribute("aria-valuenow")) == pytest.approx(0.6, abs=0.005)
        page.mouse.move(x, y)
        assert float(knob.get_attribute("aria-valuenow")) == pytest.approx(0.6, abs=0.005)
        page.mouse.move(x + plot["width"] * 0.1, y)
        page.mouse.down()
        page.mouse.move(plot["x"] + 2 * plot["width"], y)
        assert float(knob.get_attribute("aria-valuenow")) == pytest.approx(0.748)
        page.mouse.up()


def visible(page):
    """(whether the still picture is seen, whether the live figure is)."""
    return tuple(
        page.evaluate(
            """['.mdm-still', '.mdm-live'].map((what) =>
                 [...document.querySelectorAll(what)].some((node) => node.checkVisibility()))"""
        )
    )


@every_figure
def test_still_picture_in_print_and_without_javascript(browser, name):
    with shown(browser, name) as page:
        assert visible(page) == (False, True)
        page.emulate_media(media="print")
        assert visible(page) == (True, False)
        assert page.evaluate("document.querySelector('.mdm-still').naturalWidth") > 0
    with shown(browser, name, java_script_enabled=False) as page:
        picture = page.get_by_role("img", name=figure(name).alt)
        assert picture.is_visible() and picture.bounding_box()["width"] > 300
        assert page.locator(".mdm-live, button, select").count() == 0


def test_still_picture_stays_where_the_script_fails(browser):
    html = figure("unmask").html.replace('"lengths"', '"breadths"')
    with shown(browser, html=html, silent=False) as page:
        assert visible(page) == (True, False)


@every_figure
@pytest.mark.parametrize("width", [360, 1280])
def test_nothing_is_wider_than_the_screen(browser, name, width):
    viewport = {"width": width, "height": 800}
    with shown(browser, name, viewport=viewport, has_touch=True) as page:
        combinations = [()]
        if name == "unmask":
            combinations = [("0", "64", "single"), ("1", "64", "odd_even"), ("1", "8", "bisection")]
        elif name == "information-steps":
            combinations = [("1", "8"), ("2", "2")]
        for values in combinations:
            for field, value in zip(page.get_by_role("combobox").all(), values):
                field.select_option(value)
            if name == "unmask":
                press(page, "Step")
                press(page, "Run 100 more")
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            right = page.locator("figure").bounding_box()
            for part in page.locator("figure svg, figure button, figure select, figure p").all():
                box = part.bounding_box()
                assert box is None or box["x"] + box["width"] <= right["x"] + right["width"] + 0.5


@every_figure
def test_targets_are_large_enough_for_a_finger(browser, name):
    viewport = {"width": 360, "height": 800}
    with shown(browser, name, viewport=viewport, has_touch=True, is_mobile=True) as page:
        for field in page.locator("button, select, input").all():
            box = field.bounding_box()
            assert box["height"] >= 44 and box["width"] >= 44
        if name == "information-steps":
            page.get_by_label("Language").select_option("1")
            page.get_by_label("Steps N").select_option("8")
            press(page, "Best steps")
            boxes = [
                knob.locator("rect").bounding_box() for knob in page.get_by_role("slider").all()
            ]
            assert all(box["width"] >= 24 and box["height"] >= 44 for box in boxes)
            for left, right in zip(boxes, boxes[1:]):
                assert left["x"] + left["width"] <= right["x"] + 0.5


@every_figure
def test_every_control_and_drawing_has_a_name(browser, name):
    with shown(browser, name) as page:
        for field in page.locator("button, select, input, [role=slider]").all():
            named = field.evaluate(
                "node => node.ariaLabel || (node.labels?.[0]?.firstChild ?? node).textContent"
            )
            assert 0 < len(named) < 30
        for drawing in page.locator(".mdm-live svg").all():
            role = drawing.get_attribute("role")
            hidden = drawing.get_attribute("aria-hidden") == "true"
            nested = drawing.evaluate("node => Boolean(node.parentElement.closest('svg'))")
            assert hidden or nested or role in ("img", "group")
            assert role is None or len(drawing.get_attribute("aria-label")) > 20
        region = page.get_by_role("status")
        assert region.get_attribute("aria-live") == "polite" and region.text_content()


def test_several_copies_on_a_page_are_independent(browser):
    with shown(browser, "unmask", "theorem-curves", "unmask", "information-steps") as page:
        assert page.locator("figure[data-mounted]").count() == 4
        assert page.locator(".mdm-live").count() == 4
        first, second = page.locator("[data-figure=unmask]").all()
        first.get_by_label("Length L").select_option("8")
        first.get_by_role("button", name="Step", exact=True).click()
        second.get_by_role("button", name="Run 100 more").click()
        assert first.locator("dd").first.text_content() == "0"
        assert second.locator("dd").first.text_content() == "100"
        assert second.get_by_label("Length L").input_value() == "16"
        assert "After step 1" in first.get_by_role("img").first.get_attribute("aria-label")
        assert "After step 0" in second.get_by_role("img").first.get_attribute("aria-label")
        assert page.evaluate("Object.keys(window).filter((key) => /mdm/i.test(key))") == ["mdmLab"]


@every_figure
def test_nothing_moves_by_itself(browser, name):
    with shown(browser, name, reduced_motion="reduce") as page:
        moving = page.evaluate(
            """[...document.querySelectorAll('figure, figure *')].filter((node) => {
                 const style = getComputedStyle(node);
                 return style.animationName !== 'none' || style.transitionDuration !== '0s';
               }).length"""
        )
        assert moving == 0
        before = page.locator(".mdm-live").inner_html()
        page.wait_for_timeout(1200)
        assert page.locator(".mdm-live").inner_html() == before


DARK = """<style>html { color-scheme: dark; } body { background: #14181e; color: #ced6dd; }
figcaption, p, label, li, dt, dd, output, b, span { color: #ced6dd; }
.bd-article figcaption { color: #fff; } button, select { background: #222; color: #eee; }</style>"""
CONTRASTS = """() => {
  const channels = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const luminance = (colour) => channels(colour).slice(0, 3).map((c) => c / 255)
    .map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4))
    .reduce((sum, c, k) => sum + c * [0.2126, 0.7152, 0.0722][k], 0);
  const ratio = (a, b) => (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  const ground = (node) => {
    for (let at = node; at; at = at.parentElement) {
      const colour = getComputedStyle(at).backgroundColor;
      if (channels(colour)[3] !== 0) return colour;
    }
    return "rgb(255, 255, 255)";
  };
  const found = [];
  for (const node of document.querySelectorAll("figure *")) {
    const own = [...node.childNodes].some((c) => c.nodeType === 3 && c.textContent.trim());
    if (!own || !node.checkVisibility() || node.closest("style, script")) continue;
    const style = getComputedStyle(node), drawn = node.namespaceURI !== document.body.namespaceURI;
    const colour = drawn ? style.fill : style.color;
    const under = node.previousElementSibling;
    const rest = drawn && /^(rect|circle)$/.test(under?.tagName)
      ? getComputedStyle(under).fill : ground(node);
    found.push([node.textContent.trim().slice(0, 30), ratio(luminance(colour), luminance(rest))]);
  }
  return found;
}"""


@every_figure
def test_text_can_be_read_in_the_dark_scheme(browser, name):
    head = DARK + f"<style>{(ROOT / 'book' / 'assets' / 'site.css').read_text()}</style>"
    html = (
        f"<article class='bd-article'><div class='cell_output'>{figure(name).html}</div></article>"
    )
    with shown(browser, html=html, head=head, color_scheme="dark") as page:
        page.evaluate("document.documentElement.dataset.theme = 'dark'")
        if name == "unmask":
            press(page, "Step")
            page.get_by_label("Order").select_option("odd_even")
            press(page, "Step")
        found = page.evaluate(CONTRASTS)
        assert len(found) > 20
        assert [entry for entry in found if entry[1] < 4.5] == []
        card = "getComputedStyle(document.querySelector('figure')).backgroundColor"
        assert page.evaluate(card) == "rgb(255, 255, 255)"


def test_defaults_of_the_sliders_are_offered():
    given = data("theorem-curves")
    for key, values in (
        *(("length", "lengths"), ("n", "orders"), ("epsilon", "epsilons")),
        *(("learning", "learning"), ("steps", "steps")),
    ):
        assert given["start"][key] in given[values]
    assert bounds.VOCAB_SIZE == given["vocab"] == 16
