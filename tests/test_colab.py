"""The Colab edition says in plain Markdown what the site says, all but the solutions.

That it runs is the subject of tests/test_colab_runs.py.
"""

import os
import re
import subprocess
import tomllib
from html import escape

import colab
import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from packaging.requirements import Requirement
from pybtex.database import parse_string
from tree import ROOT, address, chapters, pages

LABELS = colab.collect_labels(pages())
EDITIONS = {path: colab.edition(path, LABELS) for path in chapters()}
STUDENT_FORMS = {path: colab.edition(path, LABELS, student=True) for path in chapters()}
IDS = [path.stem for path in chapters()]

CHAPTER = r"""
(chap-here)=
# Here

::::{prf:theorem} Of $x$
:label: thm-of-x

:::{math}
:label: eq-inner
x = 1
:::
::::

:::{dropdown} Proof
By {eq}`eq-outer`:

$$ y = 2 $$ (eq-outer)

$$
z = 3
$$ (eq-last)
:::

:::{prf:definition}
:label: def-y
As {cite:t}`key` and {cite:p}`key`.
:::

See {prf:ref}`thm-of-x`, {prf:ref}`def-y`, {ref}`chap-here`, {ref}`words <chap-here>`,
{eq}`eq-last`,
{glue:text}`rate:.2f`, {term}`the mask <mask>` and {py:func}`~mdm_lab.forward.mask`.

```python
print("{eq}`left alone`")
```
"""


def test_numbers_and_words_are_those_of_the_site(tmp_path, monkeypatch):
    path = tmp_path / "here.ipynb"
    glued = new_output(
        "display_data",
        {"application/papermill.record/text/plain": "0.12345"},
        metadata={"scrapbook": {"name": "rate", "mime_prefix": "application/papermill.record/"}},
    )
    code = new_code_cell(f"{colab.GLUE_IMPORT}\n\nglue('rate', 0.12345)", outputs=[glued])
    nbformat.write(new_notebook(cells=[new_markdown_cell(CHAPTER), code]), path)
    bibliography = parse_string(
        "@misc{key, author={A. One and B. Two and C. Three}, title={T}, year=2024}", "bibtex"
    )
    monkeypatch.setattr(colab, "bibliography", lambda: bibliography)
    labels = colab.collect_labels([(path, 4)])
    assert {name: label.text for name, label in labels.items()} == {
        "chap-here": "Here",
        "thm-of-x": "Theorem 4.1",
        "def-y": "Definition 4.2",
        "eq-inner": "(4.1)",
        "eq-outer": "(4.2)",
        "eq-last": "(4.3)",
    }
    first, text, glue, works = colab.edition(path, labels).cells
    assert "import importlib.util" in first.source and address() in first.source
    for expected in (
        "**Theorem 4.1 (Of $x$)**",
        "x = 1\n\\tag{4.1}",
        "<summary>Proof</summary>",
        "One et al. (2024) and (One et al., 2024)",
        "See Theorem 4.1, Definition 4.2, Here, words,\n(4.3),\n0.12, the mask and `mask`.",
        'print("{eq}`left alone`")',
    ):
        assert expected in text.source
    assert "myst_nb" not in glue.source and glue.outputs == []
    assert "T. 2024" in works.source.replace(",", ".")


@pytest.mark.parametrize(
    "source", [":::{mystery} x\n:::", "A {mystery}`role`.", "{eq}`eq-nowhere`"]
)
def test_what_the_edition_does_not_know_it_refuses(source):
    with pytest.raises(ValueError, match=r"does not know|no label"):
        colab.plain_markdown(source, colab.Chapter(ROOT / "book" / "x.ipynb", LABELS))


def test_an_open_directive_is_refused():
    with pytest.raises(ValueError, match="not closed"):
        colab.parse(":::{note}\ntext")


@pytest.mark.parametrize("path", chapters(), ids=IDS)
def test_edition_is_valid_and_shows_nothing_raw(path):
    notebook = EDITIONS[path]
    nbformat.validate(notebook)
    assert notebook.cells[0].cell_type == "code" and "pip install" in notebook.cells[0].source
    assert not any("myst_nb" in cell.source for cell in notebook.cells)
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            text = re.sub(r"^(`{3,}).*?^\1", "", cell.source, flags=re.M | re.S)
            assert ":::" not in text
            assert not re.search(r"\{[a-z:]+\}`", text), text
            assert not re.search(r"^\([\w-]+\)=", text, re.M), text
            assert not re.search(r"\]\((?!https?:|#)", text), "a link that Colab cannot follow"


def solutions(path):
    """The lines of a chapter's solutions: of folded text and of folded code."""
    for cell in nbformat.read(path, as_version=4).cells:
        if cell.cell_type == "code" and colab.is_solution(cell):
            yield from cell.source.splitlines()
        elif cell.cell_type == "markdown":
            yield from _solution_lines(colab.parse(cell.source))


def _solution_lines(block, inside=False):
    for part in block.content:
        if isinstance(part, str):
            if inside:
                yield part
        else:
            yield from _solution_lines(part, inside or part.title.startswith("Solution"))


@pytest.mark.parametrize("path", chapters(), ids=IDS)
@pytest.mark.parametrize("forms", [EDITIONS, STUDENT_FORMS], ids=["colab", "student"])
def test_solutions_are_left_out_and_linked(forms, path):
    secret = {line.strip() for line in solutions(path) if len(line.strip()) > 40}
    source = nbformat.read(path, as_version=4)
    secret -= {line.strip() for cell in source.cells for line in _open_lines(cell)}
    text = "\n".join(cell.source for cell in forms[path].cells)
    assert secret, "a chapter has exercises, and they have solutions"
    assert [line for line in secret if line in text] == []
    links = re.findall(r"\[on the book's page\]\(([^)#]+)#([\w-]+)\)", text)
    assert {place for place, _ in links} == {colab.site_address(path)}
    exercises = re.findall(r"\{exercise\}[^\n]*\n:label: ([\w-]+)", str(source_text(source)))
    assert {label for _, label in links} <= set(exercises)
    assert sum(cell.source == colab.YOUR_CODE for cell in forms[path].cells) == sum(
        map(colab.is_solution, source.cells)
    )


def source_text(notebook):
    return "\n".join(cell.source for cell in notebook.cells)


def _open_lines(cell):
    """What the chapter shows outside solutions as well, such as a shared import."""
    if cell.cell_type == "code" and not colab.is_solution(cell):
        yield from cell.source.splitlines()


@pytest.mark.parametrize("path", chapters(), ids=IDS)
def test_a_folded_cell_is_a_solution(path):
    """So that none slips through: whatever the site folds away whole is known to the edition."""
    for cell in nbformat.read(path, as_version=4).cells:
        if "hide-cell" in cell.metadata.get("tags", []):
            assert colab.is_solution(cell), cell.id


@pytest.mark.parametrize("path", chapters(), ids=IDS)
def test_student_form_has_no_outputs_and_leads_to_the_site(path):
    cells = STUDENT_FORMS[path].cells
    assert not any(cell.get("outputs") or cell.get("execution_count") for cell in cells)
    assert not any("colab.research" in cell.source for cell in cells)
    assert [c.source for c in cells if c.cell_type == "code"] == [
        c.source for c in EDITIONS[path].cells if c.cell_type == "code"
    ]


def test_first_cell_asks_pip_for_one_package_and_only_where_it_is_missing():
    source = EDITIONS[chapters()[0]].cells[0].source
    condition, command = source.splitlines()[-2:]
    assert condition == 'if importlib.util.find_spec("mdm_lab") is None:'
    asked = re.fullmatch(r' +%pip install --quiet "([^"]+)"', command)
    requirement = Requirement(asked[1])
    assert requirement.name == "mdm-lab"
    assert requirement.url == f"git+{address()}@{colab.installed_version()}"
    version = colab.mdm_lab.__version__
    assert colab.installed_version() in (f"v{version}", "main")


def test_package_has_lower_bounds_only():
    """Whatever a reader has that is new enough stays: pip has no reason to replace it."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    needed = [Requirement(line) for line in project["dependencies"]]
    assert {"torch", "numpy"} <= {requirement.name for requirement in needed}
    for requirement in needed:
        assert {bound.operator for bound in requirement.specifier} <= {">="}, requirement


FIGURES = [
    output.data["text/html"]
    for notebook in EDITIONS.values()
    for cell in notebook.cells
    for output in cell.get("outputs", [])
    if "mdm-explorable" in output.get("data", {}).get("text/html", "")
]


@pytest.mark.parametrize("figure", FIGURES, ids=lambda html: re.search('figure="([^"]+)', html)[1])
def test_figure_comes_alive_in_a_frame_of_its_own(browser, figure):
    """Colab shows each output in a frame that shares nothing with the page around it."""
    page, wrong = browser.new_page(), []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("request", lambda request: wrong.append(request.url))
    page.set_content(f'<iframe sandbox="allow-scripts" srcdoc="{escape(figure)}"></iframe>')
    frame = page.frame_locator("iframe")
    frame.locator(".mdm-explorable[data-mounted] .mdm-live").wait_for(state="attached")
    assert [url for url in wrong if not url.startswith(("data:", "about:"))] == []
    page.close()


def test_make_colab_writes_every_chapter(tmp_path):
    colab.main(tmp_path / "colab")
    written = {p.relative_to(tmp_path / "colab") for p in tmp_path.rglob("*.ipynb")}
    assert written == {path.relative_to(ROOT) for path in chapters()}


def test_a_release_is_installed_at_its_tag(tmp_path, monkeypatch):
    def git(*arguments):
        identity = {
            f"GIT_{who}_{what}": "x"
            for who in ("AUTHOR", "COMMITTER")
            for what in ("NAME", "EMAIL")
        }
        subprocess.run(
            ["git", *arguments], cwd=tmp_path, check=True, env={**os.environ, **identity}
        )

    git("init", "--quiet")
    git("commit", "--quiet", "--allow-empty", "--message", "x")
    monkeypatch.setattr(colab, "ROOT", tmp_path)
    assert colab.installed_version() == "main"
    git("tag", f"v{colab.mdm_lab.__version__}")
    assert colab.installed_version() == f"v{colab.mdm_lab.__version__}"
