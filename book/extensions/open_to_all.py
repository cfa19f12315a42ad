"""Sphinx extension: mends in the theme's pages what would shut a reader out.

The theme leaves its sidebar outside every landmark and colours nothing until its script has run;
MyST writes the empty corner of a table as a heading without words; docutils gives the entries of a
list of sources a role that no list allows.  tests/test_accessibility.py and tests/test_browser.py
find each of these again where it is not mended.
"""

import re
from pathlib import Path

# What a page has, and what it gets instead.
MENDS = [
    # Without JavaScript nothing resolves "auto", and no colour would be defined.
    (r'(<html[^>]*) data-theme="auto"', r'\1 data-theme="light"'),
    # With it, the reader's scheme is there from the first moment, before the theme's own script.
    (
        r'(localStorage\.getItem\("theme"\) \|\| )"auto"',
        r'\1(matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")',
    ),
    (
        r'<div id="pst-primary-sidebar" (?!role)',
        '<div id="pst-primary-sidebar" role="complementary" aria-label="Book" ',
    ),
    (r' role="doc-biblioentry"', ' role="listitem"'),
    (r' role="doc-backlink"', ""),
    (r'<th class="head[^"]*">(?:<p></p>)?\s*</th>', "<td></td>"),
]


def mend(app, exception):
    if exception or app.builder.format != "html":
        return
    for page in Path(app.outdir).rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        if 'id="main-content"' not in text:  # no page of the theme
            continue
        mended = text
        for pattern, replacement in MENDS:
            mended = re.sub(pattern, replacement, mended)
        if mended != text:
            page.write_text(mended, encoding="utf-8")


def setup(app):
    app.connect("build-finished", mend)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
