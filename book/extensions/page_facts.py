"""Sphinx extension: what a page says about itself, and the pages that are about pages.

Each page gets a description and a preview for links to it, an address where it can be edited, and
a note how to cite it.  Beside them stand a site map, the page for addresses that do not exist and
one for the root of the site.  The site's own address is `html_baseurl`, the repository's the
theme's `repository_url`; both come from _config.yml.
"""

import re
import subprocess
from datetime import date
from html import escape
from pathlib import Path
from string import Template

from docutils import nodes

import mdm_lab

BRANCH = "main"  # where edits go; the launch buttons lead to the Colab edition's own branch
PICTURE = "_static/social.png"
PICTURE_SAYS = "The book's title over a sentence whose words are revealed row by row."
CITATION = """
<details class="cite-page">
<summary>Cite this page</summary>
<p>{author}. <cite>{title}</cite>. In: {book}, version {version}. {date}. {url}</p>
<pre>@misc{{mdm-lab-{key},
  author  = {{{{{author}}}}},
  title   = {{{{{title}}}}},
  note    = {{In: {book}, version {version}}},
  year    = {{{year}}},
  month   = {{{month}}},
  url     = {{{url}}},
}}</pre>
</details>
"""
MISSING = Path(__file__).with_name("404.html")  # it may be shown at any depth: no relative address
FIRST = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>{book}</title>
<meta http-equiv="refresh" content="0; url={page}.html">
<link rel="canonical" href="{url}">
{meta}</head><body><p><a href="{page}.html">{book}</a></p></body></html>
"""


def description(doctree, length=200):
    """The first sentences of a page, those that need no formula, cut at a word."""
    sentences, said = [], ""
    for paragraph in doctree.findall(nodes.paragraph) if doctree else ():
        if isinstance(paragraph.parent, nodes.section):
            sentences += [line for line in paragraph.astext().splitlines() if "\\" not in line]
    for sentence in sentences:
        if len(said) < length / 2:
            said = f"{said} {sentence}".strip()
    return said if len(said) <= length else said[:length].rsplit(" ", 1)[0].rstrip(",;:") + " …"


def changed(path):
    """The day on which a source file was last changed, as git knows it; today without git."""
    command = ["git", "log", "-1", "--format=%cs", "--", path.name]
    try:
        found = subprocess.run(command, cwd=path.parent, capture_output=True, text=True).stdout
    except OSError:
        found = ""
    return date.fromisoformat(found.strip()) if found.strip() else date.today()


def meta_tags(app, title, said, url):
    facts = {
        "og:type": "article",
        "og:site_name": app.config.html_title,
        "og:title": title,
        "og:description": said,
        "og:url": url,
        "og:image": app.config.html_baseurl + PICTURE,
        "og:image:alt": PICTURE_SAYS,
        "twitter:card": "summary_large_image",
    }
    lines = [f'<meta property="{key}" content="{escape(text)}" />' for key, text in facts.items()]
    return "\n".join([f'<meta name="description" content="{escape(said)}" />', *lines, ""])


def add_facts(app, pagename, templatename, context, doctree):
    if app.builder.name != "html" or pagename not in app.env.titles:
        return
    source = Path(app.env.doc2path(pagename))
    title, url = app.env.titles[pagename].astext(), f"{app.config.html_baseurl}{pagename}.html"
    said = description(doctree) or f"{title} of the book {app.config.html_title}."
    context["metatags"] = context.get("metatags", "") + meta_tags(app, title, said, url)
    if doctree is None:  # the index, which Sphinx makes
        return
    day = changed(source)
    facts = {
        "author": app.config.author,
        "title": title,
        "book": app.config.html_title,
        "version": mdm_lab.__version__,
        "url": url,
    }
    context["body"] += CITATION.format(
        key=source.stem,
        date=day.isoformat(),
        year=day.year,
        month=day.month,
        **{key: escape(text) for key, text in facts.items()},
    )
    repository = app.config.html_theme_options["repository_url"]
    edit = {
        "type": "link",
        "url": f"{repository}/edit/{BRANCH}/{source.relative_to(app.srcdir).as_posix()}",
        "text": "Edit this page",
        "tooltip": "Edit this page",
        "icon": "fas fa-pencil-alt",
        "label": "source-edit-button",
    }
    for group in context.get("header_buttons", []):
        if group.get("label") == "source-buttons":
            group["buttons"].append(edit)


def write_pages(app, exception):
    if exception or app.builder.name != "html":
        return
    out, root, book = Path(app.outdir), app.config.html_baseurl, escape(app.config.html_title)
    names = sorted(app.env.found_docs, key=lambda name: (name != app.config.root_doc, name))
    entries = "".join(
        f"<url><loc>{root}{name}.html</loc>"
        f"<lastmod>{changed(Path(app.env.doc2path(name)))}</lastmod></url>\n"
        for name in names
    )
    (out / "sitemap.xml").write_text(
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f'<urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">\n{entries}</urlset>\n',
        encoding="utf-8",
    )
    first = f"{root}{app.config.root_doc}.html"
    order = {name: place for place, name in enumerate(app.env.external_site_map)}
    links = "".join(
        f'<li><a href="{root}{name}.html">{escape(app.env.titles[name].astext())}</a></li>\n'
        for name in sorted(names[1:], key=lambda name: order.get(name, len(order)))
    )
    missing = Template(MISSING.read_text(encoding="utf-8"))
    (out / "404.html").write_text(
        missing.substitute(book=book, root=root, first=first, links=links), encoding="utf-8"
    )
    said = re.search(
        r'<meta name="description" content="([^"]*)"',
        (out / f"{app.config.root_doc}.html").read_text(encoding="utf-8"),
    )[1]
    meta = meta_tags(app, app.config.html_title, said, first)
    index = FIRST.format(book=book, page=app.config.root_doc, url=first, meta=meta)
    (out / "index.html").write_text(index, encoding="utf-8")
    draw_picture(out / PICTURE, app.config.html_title)


def draw_picture(path, title):
    """The picture that other sites show beside a link to the book, 1200 by 630 pixels."""
    from matplotlib.figure import Figure

    from mdm_lab.plotting import COLOURS, MASKED

    words = ("Sam", "bought", "two", "dozen", "eggs")
    shown = ((), (1, 4), (1, 2, 4), (0, 1, 2, 3, 4))
    figure = Figure(figsize=(12, 6.3), dpi=100, facecolor="white")
    figure.text(0.07, 0.8, title, fontsize=37, fontweight="bold", color="#1a1a1a")
    figure.text(0.07, 0.7, "A laboratory with ground truth", fontsize=25, color="#595959")
    for k, visible in enumerate(shown):
        for i, word in enumerate(words):
            fresh = i in visible and (k == 0 or i not in shown[k - 1])
            face = "#cfe6f5" if fresh else "white" if i in visible else MASKED
            text = {"fontsize": 21, "ha": "center", "va": "center", "color": "#1a1a1a"}
            box = {"boxstyle": "round,pad=0.35", "facecolor": face, "edgecolor": COLOURS[0]}
            says = word if i in visible else "mask"
            figure.text(0.15 + 0.17 * i, 0.54 - 0.13 * k, f"{says:^8}", bbox=box, **text)
    figure.savefig(path, metadata={"Software": None})


def setup(app):
    app.connect("html-page-context", add_facts, priority=800)
    app.connect("build-finished", write_pages)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
