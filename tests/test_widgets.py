"""The explorable figures: the same bytes everywhere, the mathematics of the module, usable by all.

The second half runs them in headless Chromium, on a page that holds nothing else.
"""

import itertools
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

import families
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
from mdm_lab.widgets import bounds, breakpoints, explorable, marks, unmasking

FIGURES = {
    "unmask": widgets.unmask,
    "unmask-sentence": widgets.unmask_sentence,
    "information-steps": widgets.information_steps,
    "theorem-curves": widgets.theorem_curves,
    "lines": families.lines,
    "bars": families.bars,
    "cells": families.cells,
    "pair": families.pair,
}
FAMILIES = {
    "lines": families.LINES,
    "bars": families.BARS,
    "cells": families.CELLS,
    "pair": families.PAIR,
}
every_figure = pytest.mark.parametrize("name", FIGURES)
every_family = pytest.mark.parametrize("name", FAMILIES)


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
    function = FIGURES[name]
    code = (
        f"import sys; sys.path.append({str(Path(__file__).parent)!r})\n"
        f"from {function.__module__} import {function.__name__} as figure\n"
        "sys.stdout.reconfigure(encoding='utf-8')\n"
        "print(figure().html, end='')"
    )
    run = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        check=True,
        env={**os.environ, "PYTHONHASHSEED": "1"},
    )
    assert run.stdout.decode() == function().html


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


@pytest.mark.parametrize(
    "change, told",
    [
        ({"alt": "A curve."}, "alt must say"),
        ({"tell": lambda *values: ""}, "tell must return a sentence at vocabulary V = 2"),
        ({"plots": []}, "plots must be one Plot or two"),
        ({"controls": {}}, "controls must be one to three"),
        ({"controls": {"a": [1]}}, "'a' must offer two different values"),
        ({"controls": {"a": [1, 1]}}, "'a' must offer two different values"),
        ({"controls": {"a" * 30: [1, 2]}}, "a name has 1 to 29 characters"),
        ({"start": {"length": 8}}, r"start names \['length'\]; the controls are"),
        ({"start": {"length L": 9}}, r"start of 'length L' must be one of \[8, 32\]; got 9"),
    ],
)
def test_family_refuses_what_it_cannot_offer(change, told):
    with pytest.raises(ValueError, match=told):
        widgets.family(**{**families.LINES, "start": None, **change})


def line_of(*fields):
    return lambda a: {"f": widgets.Line(*fields)}


@pytest.mark.parametrize(
    "draw, axes, told",
    [
        (
            lambda a: None if a == 2 else line_of([1], [1])(a),
            {},
            r"dict of marks at a = 2; got None",
        ),
        (lambda a: {"f": [1, 2]}, {}, "'f' must be one of Line, Points, Bars"),
        (line_of([1, 2], [1]), {}, "y of 'f' must have as many entries as x, 2, at a = 1; got 1"),
        (line_of([1, 2], [1, 2], [1], [2, 2]), {}, "low of 'f' must have as many"),
        (line_of([1], [1], [1]), {}, "'f' must have low and high together"),
        (line_of([1, 2], [1, np.nan]), {}, "y of 'f' must hold finite numbers at a = 1"),
        (line_of([1, np.inf], [1, 1]), {}, "x of 'f' must hold finite numbers"),
        (line_of([], []), {}, "x of 'f' must hold finite numbers"),
        (
            line_of([0, 1], [1, 1]),
            {"x": widgets.Axis("x", log=True)},
            r"plots\[0\].x is logarithmic",
        ),
        (
            line_of([0, 1], [1, 3]),
            {"y": widgets.Axis("y", 0, 2)},
            "must run from at most 1 to .* 3",
        ),
        (line_of([0, 3], [1, 1]), {"x": widgets.Axis("x", names="ab")}, "2 names, so its numbers"),
        (lambda a: {k: widgets.Line([1], [1]) for k in "abcde"}, {}, "at most 4 series"),
        (lambda a: {"f": widgets.Cells([[1]])}, {}, "both its axes must have names"),
        (
            lambda a: {"f": widgets.Cells([[1, 2]])},
            {"x": widgets.Axis("x", names="a"), "y": widgets.Axis("y", names="ab")},
            r"a cell for each name, \(2, 1\), at a = 1; got \(1, 2\)",
        ),
        (
            lambda a: {"f": widgets.Bars([1, 2], [1, 2])},
            {"y": widgets.Axis("y", log=True)},
            "must not be logarithmic",
        ),
    ],
)
def test_family_refuses_what_it_cannot_draw(draw, axes, told):
    plot = widgets.Plot(**{"x": widgets.Axis("x"), "y": widgets.Axis("y"), "draw": draw, **axes})
    with pytest.raises(ValueError, match=told):
        widgets.family("Title", {"a": [1, 2]}, plot, lambda a: "Told.", families.ALT)


def test_family_refuses_to_become_too_large():
    x = np.linspace(0, 1, 400)
    plot = widgets.Plot(
        widgets.Axis("x"), widgets.Axis("y"), lambda a: {"f": widgets.Line(x, x**a)}
    )
    with pytest.raises(ValueError, match="offer fewer of the 40 settings"):
        widgets.family("Title", {"a": range(1, 41)}, plot, lambda a: "Told.", families.ALT)


def test_last_bits_of_a_machine_do_not_show():
    ties = np.array([0.03125, 0.015625, 0.1 + 0.2, 1 / 3, 0.0, 12345.5])  # 3125, 15625: ties

    def at(y):
        plot = widgets.Plot(
            widgets.Axis("x"), widgets.Axis("y"), lambda a: {"f": widgets.Line(range(6), y)}
        )
        return widgets.family("Title", {"a": [1, 2]}, plot, lambda a: "Told.", families.ALT).html

    assert at(ties) == at(np.nextafter(ties, 9)) == at(np.nextafter(ties, -9))
    assert marks.tidy(65536.0) == 65536 and marks.tidy(-1e-17) == 0
    assert marks.tidy(2 / 3) == 0.6667


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
    """A page with all figures, for their functions."""
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


def test_words_of_a_sentence_follow_the_exact_law(lab):
    """In every state that the sentence can be in; and a whole one is possible if it is true."""
    given = data("unmask-sentence")
    true = [tuple(row) for row in given["sentences"]]
    assert len(set(true)) == len(true)
    states = [
        [c if shown else None for c, shown in zip(row, visible)]
        for row in true
        for visible in itertools.product((True, False), repeat=len(row))
    ]
    whole = [list(row) for row in itertools.product(*map(range, map(len, given["words"])))]
    laws, possible = lab.evaluate(
        """([data, states, whole]) => [
          states.map((x) => x.map((_, i) => mdmLab.sentence.wordLaw(data, x, i))),
          whole.map((x) => mdmLab.sentence.misfits(data, x).length === 0),
        ]""",
        [given, states, whole],
    )
    for state, law in zip(states, laws):
        left = [row for row in true if all(s in (None, c) for s, c in zip(state, row))]
        for i, chances in enumerate(law):
            exactly = [sum(row[i] == c for row in left) / len(left) for c in range(len(chances))]
            assert chances == pytest.approx(exactly)
    assert [tuple(row) in true for row in whole] == possible
    at_once = laws[states.index([None] * 5)]
    wrong = sum(
        float(np.prod([law[c] for law, c in zip(at_once, row)]))
        for row, fits in zip(whole, possible)
        if not fits
    )
    assert given["exact"]["all"] == pytest.approx(wrong) and given["exact"]["one"] == 0


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


def settings(name):
    """Every setting of a family: (what each control stands at from 0, the values themselves)."""
    offered = FAMILIES[name]["controls"].values()
    values = [list(o.values()) if isinstance(o, dict) else list(o) for o in offered]
    for places in itertools.product(*[range(len(v)) for v in values]):
        yield places, [v[k] for v, k in zip(values, places, strict=True)]


def turn_to(page, places):
    """Set the controls of a family to these places."""
    for field, k in zip(page.locator("input, select").all(), places, strict=True):
        if field.evaluate("node => node.tagName") == "SELECT":
            field.select_option(str(k))
        else:
            field.fill(str(k))


def expected_table(plot, values):
    """The numbers that a plot must show, from the functions that were handed to `family`."""
    drawn = plot.draw(*values)
    first, *_ = drawn.values()
    if isinstance(first, widgets.Cells):
        rows = np.vectorize(marks.tidy, otypes=[object])(first.values).tolist()
        head = ["", *map(str, plot.x.names)]
        return [head, *([str(n), *map(str, r)] for n, r in zip(plot.y.names, rows, strict=True))]
    columns = {}
    for name, mark in drawn.items():
        for field, words in (("y", name), ("low", f"{name}, low"), ("high", f"{name}, high")):
            if isinstance(mark, widgets.Line) and (given := getattr(mark, field)) is not None:
                pairs = zip(np.asarray(mark.x).tolist(), np.asarray(given).tolist(), strict=True)
                columns[words] = {x: str(marks.tidy(y)) for x, y in pairs}
    places = sorted({x for column in columns.values() for x in column})
    names = plot.x.names or {x: marks.tidy(x) for x in places}
    body = [[str(names[x]), *(c.get(x, "") for c in columns.values())] for x in places]
    return [[plot.x.label, *columns], *body]


def as_numbers(cells):
    """Texts that are numbers as numbers, as 2e-06 and 0.000002 are one."""
    if isinstance(cells, list):
        return [as_numbers(cell) for cell in cells]
    return float(cells) if re.fullmatch(r"-?[\d.]+(e-?\d+)?", cells) else cells


@every_family
def test_every_setting_shows_the_numbers_that_were_computed_for_it(browser, name):
    plots = FAMILIES[name]["plots"]
    with shown(browser, name) as page:
        page.get_by_text("Show the numbers").click()
        seen = set()
        for places, values in settings(name):
            turn_to(page, places)
            tables = page.evaluate(
                """[...document.querySelectorAll('table')].map(({ rows }) =>
                     [...rows].map(({ cells }) => [...cells].map((cell) => cell.textContent)))"""
            )
            expected = [
                expected_table(plot, values) for plot in (plots if name == "pair" else [plots])
            ]
            assert as_numbers(tables) == as_numbers(expected)
            seen.add(str(tables))
        assert len(seen) > 2


@every_family
def test_every_setting_is_drawn_where_its_numbers_lie(browser, name):
    with shown(browser, name) as page:
        plots = FAMILIES[name]["plots"]
        grids = set()
        for places, values in settings(name):
            turn_to(page, places)
            for k, plot in enumerate(plots if name == "pair" else [plots]):
                axes = data(name)["plots"][k]
                drawing = page.locator(".mdm-live svg[role=img]").nth(k)
                lines, paths, rects = drawing.evaluate(DRAWN)
                x_ticks, y_ticks = (axes[axis]["ticks"] for axis in "xy")
                x_at = scale_of(axes["x"], [line["x"] for line in lines[: len(x_ticks)]])
                y_at = scale_of(
                    axes["y"], [line["y"] for line in lines[len(x_ticks) :]][: len(y_ticks)]
                )
                grids.add((k, str(lines[: len(x_ticks) + len(y_ticks)])))
                rules = lines[len(x_ticks) + len(y_ticks) :]
                bars = [m for m in plot.draw(*values).values() if isinstance(m, widgets.Bars)]
                for mark in plot.draw(*values).values():
                    if isinstance(mark, widgets.Cells):
                        assert_cells(rects, np.asarray(mark.values), x_at, y_at)
                    elif isinstance(mark, widgets.Level | widgets.Upright):
                        level = isinstance(mark, widgets.Level)
                        end = y_at(mark.y) if level else x_at(mark.x)
                        found = [r for r in rules if r["dash"] and r["w" if level else "h"] > 100]
                        assert any(abs(r["y" if level else "x"] - end) < 0.1 for r in found)
                    elif isinstance(mark, widgets.Bars):
                        drawn, rects = rects[: len(mark.x)], rects[len(mark.x) :]
                        top, base = [y_at(float(y)) for y in mark.y], y_at(0)
                        assert [r["h"] for r in drawn] == pytest.approx(
                            base - np.array(top), abs=0.2
                        )
                        if len(bars) == 1:
                            middle = [r["x"] + r["w"] / 2 for r in drawn]
                            assert middle == pytest.approx([x_at(x) for x in mark.x], abs=0.1)
                    else:
                        at = np.array([[x_at(x), y_at(float(y))] for x, y in zip(mark.x, mark.y)])
                        points = type(mark) is widgets.Points
                        found = [np.array(p) for p in paths if points or len(p) == len(at)]
                        if points:
                            heads = np.array([p[0] for p in paths])
                            assert all(np.abs(heads - p).sum(axis=1).min() < 0.2 for p in at)
                        else:
                            assert any(np.abs(p - at).max() < 0.2 for p in found)
        assert len(grids) == len(data(name)["plots"])  # the axes stay where they are


DRAWN = """(svg) => [
  [...svg.querySelectorAll(":scope > line")].map((node) => {
    const [x, y, x2, y2] = ["x1", "y1", "x2", "y2"].map((key) => Number(node.getAttribute(key)));
    return { x, y, w: x2 - x, h: y2 - y, dash: node.hasAttribute("stroke-dasharray") };
  }),
  [...svg.querySelectorAll(":scope > path")].slice(1).map((node) =>
    [...node.getAttribute("d").matchAll(/[ML]([-\\d.]+) ([-\\d.]+)/g)].map(([, x, y]) => [+x, +y])),
  [...svg.querySelectorAll(":scope > rect")].map((node) => ({
    ...Object.fromEntries([["x", "x"], ["y", "y"], ["w", "width"], ["h", "height"]]
      .map(([key, name]) => [key, Number(node.getAttribute(name))])),
    fill: getComputedStyle(node).fill,
  })),
]"""


def scale_of(axis, pixels):
    """Where a value lies, from where the grid lines of the axis lie."""
    on = np.log if axis["log"] else np.asarray
    ticks = on(np.array([value for value, _ in axis["ticks"]], dtype=float))
    slope, start = np.polyfit(ticks, pixels, 1)
    assert slope * ticks + start == pytest.approx(np.array(pixels), abs=0.01)
    return lambda value: float(slope * on(float(value)) + start)


def assert_cells(rects, values, x_at, y_at):
    assert len(rects) == values.size
    red = []
    for rect, (row, column) in zip(rects, np.ndindex(values.shape), strict=True):
        assert rect["x"] + rect["w"] / 2 == pytest.approx(x_at(column), abs=0.1)
        assert rect["y"] + rect["h"] / 2 == pytest.approx(y_at(row), abs=0.1)
        red.append(int(re.findall(r"\d+", rect["fill"])[0]))
    assert red == pytest.approx(255 * (1 - values.ravel()), abs=0.6)  # COLOURS[0] has no red


@every_family
def test_family_is_heard_and_moved_by_keyboard_alone(browser, name):
    given = FAMILIES[name]
    with shown(browser, name) as page:
        starts = [control["start"] for control in data(name)["controls"]]
        all_settings = dict(settings(name))
        assert status(page) == given["tell"](*all_settings[tuple(starts)])
        for k, control in enumerate(data(name)["controls"]):
            field = tab_to(page, "slider" if control["slider"] else "combobox", control["name"])
            forth = starts[k] + 1 < len(control["shown"])
            starts[k] += 1 if forth else -1
            page.keyboard.press("ArrowDown" if forth != control["slider"] else "ArrowUp")
            if control["slider"]:
                assert field.get_attribute("aria-valuetext") == control["shown"][starts[k]]
            assert status(page) == given["tell"](*all_settings[tuple(starts)])
        for _ in range(10):
            page.keyboard.press("Tab")
            if page.evaluate("document.activeElement.tagName") == "SUMMARY":
                break
        page.keyboard.press("Enter")
        page.wait_for_timeout(100)
        tables = page.get_by_role("region")
        assert tables.count() == len(data(name)["plots"])
        page.keyboard.press("Tab")
        assert tables.first.evaluate("node => node === document.activeElement")


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


OPEN = "document.querySelectorAll('details').forEach((details) => { details.open = true; })"


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
            page.evaluate(OPEN)
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            right = page.locator("figure").bounding_box()
            for part in page.locator("figure svg, figure button, figure select, figure p").all():
                box = part.bounding_box()
                assert box is None or box["x"] + box["width"] <= right["x"] + right["width"] + 0.5


@every_figure
def test_targets_are_large_enough_for_a_finger(browser, name):
    viewport = {"width": 360, "height": 800}
    with shown(browser, name, viewport=viewport, has_touch=True, is_mobile=True) as page:
        for field in page.locator("button, select, input, summary").all():
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
        page.evaluate(OPEN)
        page.wait_for_timeout(100)
        found = page.evaluate(CONTRASTS)
        assert len(found) > 12
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
