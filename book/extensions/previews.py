"""Sphinx extension: gathers what a link inside the book leads to, for a look before one follows it.

Definitions, theorems, exercises, equations, figures, terms, sources and functions to which some
page links are cut out of the built pages and written into one script, which book/assets/previews.js
loads when it is first needed (a script, since a page that is opened from a folder may not fetch).
"""

import json
import posixpath
import re
from pathlib import Path

TARGET = re.compile(
    r'<(div|figure|dt)\b(?=[^>]*(?:class="(?:proof|exercise|math|citation|sig)\b|id="(?:term|fig)-))'
    r'[^>]*\bid="([^"]+)"[^>]*>'
)
LINK = re.compile(r'<a class="reference internal" href="([^"#]*)#([^"]+)"')
DROPPED = re.compile(
    r'<a class="headerlink".*?</a>|<a class="[^"]*viewcode[^"]*".*?</a>|<script\b.*?</script>'
    r'|</?a\b[^>]*>| id="[^"]*"',
    re.S,
)
SOURCE = re.compile(r'(<img\b[^>]*\bsrc=")(?!data:)([^"]+)')


def article(path):
    text = path.read_text(encoding="utf-8")
    return text[max(0, text.find("<article")) : text.find("</article>")]


def element(html, start, tag):
    """The element that begins at `start`, to its own end."""
    depth = 0
    for match in re.compile(rf"<(/?){tag}\b").finditer(html, start):
        depth += -1 if match[1] else 1
        if depth == 0:
            return html[start : html.index(">", match.start()) + 1]
    return html[start:]


def preview(html, match, page):
    """What is shown of the target that `match` found on `page`."""
    found = element(html, match.start(), match[1])
    if match[1] == "dt":  # a term with its explanation, a function with its first paragraph
        at = html.index("<dd", match.start())
        told = element(html, at, "dd")
        first = re.search(r"<p>.*?</p>", told, re.S) if "sig" in match[0] else None
        found = f"<dl>{found}{f'<dd>{first[0]}</dd>' if first else told}</dl>"
    folder = posixpath.dirname(page)
    found = SOURCE.sub(lambda m: m[1] + "@/" + posixpath.normpath(f"{folder}/{m[2]}"), found)
    return DROPPED.sub("", found)


def write(app, exception):
    if exception or app.builder.name != "html":
        return
    out = Path(app.outdir)
    pages = {f"{name}.html": article(out / f"{name}.html") for name in sorted(app.env.found_docs)}
    linked = {
        f"{posixpath.normpath(f'{posixpath.dirname(page)}/{path}') if path else page}#{name}"
        for page, html in pages.items()
        for path, name in LINK.findall(html)
    }
    found = {
        f"{page}#{match[2]}": preview(html, match, page)
        for page, html in pages.items()
        for match in TARGET.finditer(html)
        if f"{page}#{match[2]}" in linked
    }
    data = json.dumps(found, ensure_ascii=False, separators=(",", ":"))
    target = out / "_static" / "previews-data.js"
    target.write_text(f"window.mdmPreviews = {data};\n", encoding="utf-8")


def setup(app):
    app.connect("build-finished", write)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
