"""Sphinx extension: each chapter's page offers its notebook for download, in student form.

The form is made by book/tools/colab.py: plain Markdown, references resolved, exercises without
their solutions, no outputs.  It stands in the folder `notebooks` of the site.
"""

import sys
from pathlib import Path

import nbformat

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tools"))
import colab  # noqa: E402
from tree import chapters, pages  # noqa: E402

FOLDER = "notebooks"


def write_notebooks(app, exception):
    """Write the student form of every chapter into the built site."""
    if exception or app.builder.name != "html":
        return
    target = Path(app.outdir) / FOLDER
    target.mkdir(exist_ok=True)
    labels = colab.collect_labels(pages())
    for path in chapters():
        nbformat.write(colab.edition(path, labels, student=True), target / path.name)


def offer(app, pagename, templatename, context, doctree):
    """Let the button that offers a page's source offer this instead."""
    source = Path(app.env.doc2path(pagename)) if pagename in app.env.found_docs else None
    if source is None or source.suffix != ".ipynb":
        return
    for group in context.get("header_buttons", []):
        for button in group.get("buttons", []):
            if button.get("label") == "download-source-button":
                button["url"] = context["pathto"](f"{FOLDER}/{source.name}", 1)
                button["tooltip"] = "Download the notebook, without solutions"


def setup(app):
    app.connect("html-page-context", offer, priority=850)
    app.connect("build-finished", write_notebooks)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
