"""What a chapter's notebook must look like so that comparing its outputs means something.

    python book/tools/policy.py [NOTEBOOK ...]      (default: every notebook under book/)

Strict nbval compares nothing in a notebook without outputs, and a notebook that shows addresses,
paths or times never compares equal; this module refuses both.  tests/test_notebooks.py checks that
it does.
"""

import re
import sys
from html.parser import HTMLParser
from pathlib import Path

import nbformat
from tree import ROOT

MAX_BYTES = 1_500_000
CELL_METADATA = {"tags", "mystnb"}
TAGS = {
    "hide-cell",
    "hide-input",
    "hide-output",
    "remove-cell",
    "remove-input",
    "nbval-ignore-output",
}
NOTEBOOK_METADATA = {"kernelspec", "language_info"}
IMAGES = {"image/png", "image/jpeg"}
REFUSED_MIME = {"image/svg+xml", "application/pdf", "application/vnd.jupyter.widget-view+json"}
REFUSED_CODE = {
    r"\bclear_output\b": "clear_output",
    r"\binteract(ive)?\s*\(": "interact",
    r"\btqdm\b": "tqdm",
    r"NBVAL_": "an nbval comment (use a tag)",
    r"pip3? install": "an installation (book/tools/colab.py writes that cell)",
}
ABSOLUTE_PATH = re.compile(
    r"(?<![\w.:/~])/(?:home|tmp|work|root|Users|content|mnt|opt|usr|var)/|\b[A-Z]:\\\w"
)
FILE_NAME = re.compile(r"\.(png|jpe?g|svg|gif|webp|pdf)$", re.I)
TWO_SENTENCES = re.compile(
    r"(?<!e\.g)(?<!i\.e)(?<!\bal)(?<!\bvs)(?<!\bcf)(?<!\bFig)(?<!\bEq)(?<=[a-z)`$*])[.?!] (?=[A-Z])"
)


def complaints(path: Path) -> list[str]:
    """Everything in the notebook at `path` that the policy refuses; empty when there is nothing."""
    found = []
    if path.stat().st_size > MAX_BYTES:
        found.append(f"is larger than {MAX_BYTES / 1e6} MB")
    try:
        notebook = nbformat.read(path, as_version=nbformat.NO_CONVERT)
        nbformat.validate(notebook)
    except Exception as error:  # nbformat raises many kinds; all of them mean the same here
        return [*found, f"is not a valid notebook: {error}"]
    found += _notebook(notebook)
    count = 0
    for index, cell in enumerate(notebook.cells):
        where = f"cell {index} ({cell.get('id', 'no id')})"
        problems = _any_cell(cell)
        if cell.cell_type == "code":
            count += 1
            problems += _code_cell(cell, count)
        elif cell.cell_type == "markdown":
            problems += _markdown_cell(cell)
        found += [f"{where} {problem}" for problem in problems]
    return found


def _notebook(notebook) -> list[str]:
    found = []
    if (notebook.nbformat, notebook.nbformat_minor) < (4, 5):
        found.append("is older than format 4.5, which gives cells ids")
    if notebook.metadata.get("kernelspec", {}).get("name") != "python3":
        found.append("does not name the kernel python3")
    if extra := set(notebook.metadata) - NOTEBOOK_METADATA:
        found.append(f"carries metadata that changes from machine to machine: {sorted(extra)}")
    if set(notebook.metadata.get("language_info", {})) - {"name"}:
        found.append("carries the versions of one machine in metadata.language_info")
    if not notebook.cells or notebook.cells[0].cell_type != "markdown":
        found.append("does not begin with a Markdown cell")
    else:
        titles = re.findall(
            r"^# .",
            "\n\n".join(_prose(c.source) for c in notebook.cells if c.cell_type == "markdown"),
            re.M,
        )
        if len(titles) != 1:
            found.append(f"has {len(titles)} titles of the first level instead of one")
    return found


def _any_cell(cell) -> list[str]:
    found = []
    if "id" not in cell:
        found.append("has no id")
    if extra := set(cell.metadata) - CELL_METADATA:
        found.append(f"carries metadata {sorted(extra)}; allowed are {sorted(CELL_METADATA)}")
    if extra := set(cell.metadata.get("tags", [])) - TAGS:
        found.append(f"carries tags {sorted(extra)}; allowed are {sorted(TAGS)}")
    if not cell.source.strip():
        found.append("is empty")
    if ABSOLUTE_PATH.search(cell.source):
        found.append("has an absolute path in its source")
    return found


def _code_cell(cell, count: int) -> list[str]:
    found = []
    if cell.execution_count != count:
        found.append(
            f"has execution count {cell.execution_count} instead of {count}: run from top to bottom"
        )
    lines = [
        line
        for line in cell.source.splitlines()
        if line.strip() and not line.lstrip().startswith("#")
    ]
    if lines and lines[-1].rstrip().endswith(";"):
        found.append("ends with `;`, which nbval does not silence: write `_ = ...`")
    found += [
        f"uses {name}" for pattern, name in REFUSED_CODE.items() if re.search(pattern, cell.source)
    ]
    for output in cell.outputs:
        found += _output(cell, output)
    shown = any(IMAGES & set(output.get("data", {})) for output in cell.outputs)
    if {"figure", "image"} & set(cell.metadata.get("mystnb", {})) and not shown:
        found.append("describes a figure but shows no image")
    return found


def _output(cell, output) -> list[str]:
    if output.output_type == "error":
        return [f"shows an error: {output.ename}"]
    if output.output_type == "stream":
        found = ["writes to stderr"] if output.name == "stderr" else []
        return found + (
            ["has an absolute path in its output"] if ABSOLUTE_PATH.search(output.text) else []
        )
    found = [f"shows {mime}" for mime in sorted(REFUSED_MIME & set(output.data))]
    text = "\n".join(str(value) for mime, value in output.data.items() if mime not in IMAGES)
    if ABSOLUTE_PATH.search(text):
        found.append("has an absolute path in its output")
    if undescribed := _undescribed(output.data.get("text/html", "")):
        found.append(f"shows HTML with a picture without a description: {undescribed}")
    if IMAGES & set(output.data):
        alt = cell.metadata.get("mystnb", {}).get("image", {}).get("alt", "")
        if not _describes(alt):
            found.append(
                "shows an image without a description: metadata mystnb.image.alt, no file name"
            )
    return found


def _describes(alt: str | None) -> bool:
    """Whether a text alternative says something: a sentence, not the name of a file."""
    alt = (alt or "").strip()
    return len(alt) >= 20 and not FILE_NAME.search(alt)


class _Pictures(HTMLParser):
    """Collects the pictures of an HTML output that have no text alternative."""

    def __init__(self):
        super().__init__()
        self.undescribed: list[str] = []

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        if tag == "img" and not _describes(given.get("alt")):
            self.undescribed.append("<img> needs alt")
        decoration = given.get("aria-hidden") == "true"
        described = given.get("role") == "img" and _describes(given.get("aria-label"))
        if tag == "svg" and not decoration and not described:
            self.undescribed.append("<svg> needs role=img and aria-label")


def _undescribed(html: str) -> str:
    """What an HTML output shows without saying it in words; empty when there is nothing."""
    pictures = _Pictures()
    pictures.feed(html)
    return "; ".join(sorted(set(pictures.undescribed)))


def _markdown_cell(cell) -> list[str]:
    found = []
    if re.search(r"^\s*`{3,}\{", cell.source, re.M):
        found.append(
            "has a directive in backticks: use colon fences, which stay readable outside the book"
        )
    for line in _prose(cell.source).splitlines():
        if not line.lstrip().startswith(("|", "$", "\\")) and TWO_SENTENCES.search(line):
            found.append(f"has two sentences on one line: {line.strip()[:70]!r}")
    return found


def _prose(markdown: str) -> str:
    """Markdown without its code blocks."""
    return re.sub(r"^(`{3,}).*?^\1", "", markdown, flags=re.M | re.S)


def main(names: list[str]) -> int:
    paths = [Path(name) for name in names] or sorted((ROOT / "book").rglob("*.ipynb"))
    found = [
        (path, line)
        for path in paths
        if ".ipynb_checkpoints" not in path.parts
        for line in complaints(path)
    ]
    for path, line in found:
        print(f"{path}: {line}")
    print(f"notebook policy: {len(paths)} notebooks, {len(found)} complaints")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
