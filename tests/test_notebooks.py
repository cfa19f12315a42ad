"""The notebooks say what a fresh run would say, and the check that says so can fail."""

import copy
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import execute
import nbformat
import policy
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from tree import ROOT, SETTINGS, chapters

IDS = [path.relative_to(ROOT).as_posix() for path in chapters()]


@pytest.mark.parametrize("path", chapters(), ids=IDS)
def test_chapter_follows_the_policy(path):
    assert policy.complaints(path) == []


def test_every_notebook_of_the_book_is_a_page_of_it():
    written = {p for p in (ROOT / "book").rglob("*.ipynb") if ".ipynb_checkpoints" not in p.parts}
    assert written == set(chapters())


def glue_complaints(notebook):
    """What is wrong with the numbers that a notebook hands to its text, as sentences."""
    glued, used = set(), set()
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            used |= set(re.findall(r"\{glue:[a-z]+\}`([^:`]+)", cell.source))
        for output in cell.get("outputs", []):
            glued |= {output.get("metadata", {}).get("scrapbook", {}).get("name")} - {None}
    return [f"{name} is glued and nowhere used" for name in sorted(glued - used)] + [
        f"{name} is used and nowhere glued" for name in sorted(used - glued)
    ]


@pytest.mark.parametrize("path", chapters(), ids=IDS)
def test_every_glued_name_is_used_and_every_used_name_is_glued(path):
    assert glue_complaints(nbformat.read(path, as_version=4)) == []


def test_a_glued_name_that_is_not_used_is_found_and_one_that_is_not_glued():
    notebook, named = good_notebook(), {"scrapbook": {"name": "a"}}
    glued = new_output("display_data", {"text/plain": "1"}, metadata=named)
    notebook.cells[1].outputs.append(glued)
    assert glue_complaints(notebook) == ["a is glued and nowhere used"]
    notebook.cells[0].source += "\n\nHere {glue:text}`a` and {glue:text}`a:.2f` stand."
    assert glue_complaints(notebook) == []
    notebook.cells[0].source += "\nAlso {glue:text}`b:.2f`."
    assert glue_complaints(notebook) == ["b is used and nowhere glued"]


def good_notebook():
    """A notebook with nothing to complain about: text, a printed number, a described figure."""
    picture = new_output("display_data", {"image/png": "aGVsbG8=", "text/plain": "<Figure>"})
    described = {"mystnb": {"image": {"alt": "A line that falls from one to zero."}}}
    printed = new_output("stream", name="stdout", text="loss 0.2500\n")
    notebook = new_notebook(
        cells=[
            new_markdown_cell("# Title\n\nOne sentence.\nAnother one.", id="title"),
            new_code_cell(
                "print(f'loss {1 / 4:.4f}')", id="loss", execution_count=1, outputs=[printed]
            ),
            new_code_cell(
                "draw()", id="figure", execution_count=2, outputs=[picture], metadata=described
            ),
        ]
    )
    execute.normalise(notebook)
    return notebook


def set_alt(text):
    def change(notebook):
        notebook.cells[2].metadata["mystnb"]["image"]["alt"] = text

    return change


def no_outputs(notebook):
    for cell in notebook.cells[1:]:
        cell.outputs, cell.execution_count = [], None


def replaced(index, **values):
    return lambda notebook: notebook.cells[index].update(values)


def with_output(output):
    return lambda notebook: notebook.cells[1].update(outputs=[output])


def with_html(html):
    return with_output(new_output("display_data", {"text/html": html, "text/plain": "A figure"}))


OFFENCES = {
    "never run": (no_outputs, "execution count None"),
    "run out of order": (replaced(1, execution_count=7), "execution count 7"),
    "error": (with_output(new_output("error", ename="ValueError", evalue="")), "shows an error"),
    "stderr": (with_output(new_output("stream", name="stderr", text="hm")), "stderr"),
    "path": (with_output(new_output("stream", name="stdout", text="in /home/me/x")), "absolute"),
    "path in source": (replaced(1, source="open('/tmp/x')"), "absolute path"),
    "svg": (with_output(new_output("display_data", {"image/svg+xml": "<svg/>"})), "svg"),
    "html with a picture": (with_html("<img src='x'>"), "<img> needs alt"),
    "html with a drawing": (with_html("<svg aria-label='A line.'></svg>"), "needs role=img"),
    "semicolon": (replaced(1, source="1 + 1;"), "ends with `;`"),
    "clear_output": (replaced(1, source="clear_output()"), "clear_output"),
    "interact": (replaced(1, source="interact(f, x=3)"), "interact"),
    "installation": (replaced(1, source="%pip install mdm_lab"), "installation"),
    "time stamp": (replaced(1, metadata={"execution": {"iopub.status.busy": "now"}}), "metadata"),
    "kernel": (lambda notebook: notebook.metadata.kernelspec.update(name="conda-env"), "python3"),
    "no alt text": (set_alt(""), "without a description"),
    "file name for alt text": (set_alt("figures/the-error-rates-of-both.png"), "description"),
    "no image": (lambda notebook: notebook.cells[2].update(outputs=[]), "shows no image"),
    "backtick directive": (replaced(0, source="# T\n\n```{note}\nx\n```"), "backticks"),
    "two sentences": (replaced(0, source="# T\n\nThis is one. This is two."), "two sentences"),
    "no title": (replaced(0, source="Text."), "0 titles"),
}


@pytest.mark.parametrize("name", OFFENCES)
def test_policy_refuses(tmp_path, name):
    change, complaint = OFFENCES[name]
    notebook = good_notebook()
    path = tmp_path / "chapter.ipynb"
    nbformat.write(notebook, path)
    assert policy.complaints(path) == []
    changed = copy.deepcopy(notebook)
    change(changed)
    nbformat.write(changed, path)
    assert any(complaint in line for line in policy.complaints(path)), policy.complaints(path)


@pytest.mark.parametrize(
    "html",
    [
        "<p>7</p><svg aria-hidden='true'></svg><script>'<img>'</script>",
        "<svg role='img' aria-label='A line that falls from one to zero.'></svg>",
        "<img alt='A line that falls from one to zero.' src='data:,'>",
    ],
)
def test_policy_accepts_html_whose_pictures_are_described(tmp_path, html):
    notebook = good_notebook()
    with_html(html)(notebook)
    nbformat.write(notebook, tmp_path / "chapter.ipynb")
    assert policy.complaints(tmp_path / "chapter.ipynb") == []


def test_executing_leaves_a_notebook_that_passes_and_is_the_same_the_next_time(tmp_path):
    path = tmp_path / "chapter.ipynb"
    notebook = new_notebook(
        cells=[
            new_markdown_cell("# Title"),
            new_code_cell(
                "import os\n\nprint(os.environ['MDM_TIER'])", metadata={"collapsed": True}
            ),
        ]
    )
    nbformat.write(notebook, path)
    execute.execute(path)
    first = path.read_bytes()
    assert policy.complaints(path) == []
    execute.execute(path)
    assert path.read_bytes() == first


def nbval(path: Path) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--nbval"]
    settings = ["--nbval-current-env", "--nbval-sanitize-with", str(ROOT / "tests" / "nbval.cfg")]
    return subprocess.run(
        [*command, *settings, "-o", "addopts=", "-o", "filterwarnings=default", str(path)],
        cwd=path.parent,
        env={**os.environ, **SETTINGS},
        capture_output=True,
        text=True,
    )


def test_a_changed_number_turns_the_comparison_red(tmp_path):
    source = "print(f'error rate {1 / 8:.3f}')"
    notebook = new_notebook(cells=[new_markdown_cell("# Title"), new_code_cell(source)])
    path = tmp_path / "chapter.ipynb"
    nbformat.write(notebook, path)
    execute.execute(path)
    untouched = nbval(path)
    assert untouched.returncode == 0, untouched.stdout
    path.write_text(path.read_text().replace("0.125", "0.126"))
    mutated = nbval(path)
    assert mutated.returncode == 1, mutated.stdout
    assert "1 failed" in mutated.stdout


def test_a_changed_number_in_a_chapter_turns_the_comparison_red(tmp_path):
    """The same on a copy of a real chapter: the smallest one that prints a number."""
    shutil.copytree(ROOT / "book", tmp_path / "book")
    for path in sorted(chapters(), key=lambda path: path.stat().st_size):
        notebook = nbformat.read(path, as_version=4)
        for cell in notebook.cells:
            for output in cell.get("outputs", []):
                if output.output_type == "stream" and (digit := re.search(r"\d", output.text)):
                    at, other = digit.start(), str((int(digit[0]) + 1) % 10)
                    output.text = output.text[:at] + other + output.text[at + 1 :]
                    copied = tmp_path / path.relative_to(ROOT)
                    nbformat.write(notebook, copied)
                    mutated = nbval(copied)
                    assert mutated.returncode == 1, mutated.stdout
                    assert "1 failed" in mutated.stdout
                    return
    pytest.fail("no chapter prints a number")


def test_the_comparison_overlooks_little():
    text = (ROOT / "tests" / "nbval.cfg").read_text()
    assert len(re.findall(r"^regex:", text, re.M)) <= 8
