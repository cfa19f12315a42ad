"""Sphinx extension: the site serves itself everything that its pages load.

MathJax comes from the Python package ``sphinx-mathjax-offline``, of which only what a page can ask
for is copied.  The loader of thebe (live cells, which the book does not use) names a content
delivery network and is taken out, as are inline scripts and ids that would stand on a page twice.

The theme would load every icon of Font Awesome as a script, and the index of the search on every
page; here icons come from fonts that hold those in use, and the index where one searches.
"""

import re
import shutil
from importlib.metadata import distribution
from pathlib import Path

from fontTools import subset
from fontTools.ttLib import TTFont

PACKAGE = distribution("sphinx-mathjax-offline")
MATHJAX = Path(PACKAGE.locate_file("sphinx-mathjax-offline/static/mathjax"))
COMPONENT = "tex-mml-chtml.js"
PARTS = [
    COMPONENT,
    "output/chtml/fonts/woff-v2",
    "input/tex/extensions",
    "a11y",
    "sre/mathmaps/base.json",
    "sre/mathmaps/en.json",
    "sre/mathmaps/nemeth.json",
]
THEBE = re.compile(
    r'<script type="text/x-thebe-config">.*?</script>\s*<script>kernelName = .*?</script>', re.S
)
# sphinx-proof and sphinx-exercise give the inside of every box of a page the same id.
REPEATED_ID = re.compile(r' id="(?:proof|exercise|solution)-content"')

FONTS = "vendor/fontawesome/webfonts"
ICON = re.compile(r"\bfa-[a-z][a-z-]*")
ICON_RULE = re.compile(r"([^{}]+)\{content:\"\\([0-9a-f]+)\"\}")
ICON_SCRIPT = re.compile(r'<script[^>]*src="[^"]*scripts/fontawesome\.js[^>]*></script>\s*')
SEARCH_SCRIPT = re.compile(
    r'<script src="[^"]*(?:searchtools|language_data|searchindex)\.js[^>]*></script>\s*'
)


def point_to_own_mathjax(app, config):
    config.mathjax_path = f"mathjax/{COMPONENT}"


def copy_mathjax(app, exception):
    if exception or app.builder.format != "html":
        return
    target = Path(app.outdir) / "_static" / "mathjax"
    for part in PARTS:
        source = MATHJAX / part
        copy = shutil.copytree if source.is_dir() else shutil.copyfile
        (target / part).parent.mkdir(parents=True, exist_ok=True)
        copy(source, target / part, **({"dirs_exist_ok": True} if source.is_dir() else {}))


def drop_loaders(app, pagename, templatename, context, doctree):
    seen, kept = set(), []
    for script in context.get("script_files", []):
        body = (getattr(script, "attributes", None) or {}).get("body") or ""
        name = str(getattr(script, "filename", script) or "")
        if "thebe" in name or "THEBE_JS_URL" in body or (body and (name, body) in seen):
            continue
        seen.add((name, body))
        kept.append(script)
    context["script_files"] = kept
    if context.get("body"):
        context["body"] = REPEATED_ID.sub("", THEBE.sub("", context["body"]))


def lighten(app, exception):
    """Take out of the built pages what they need not load, and out of the icon fonts the rest."""
    if exception or app.builder.name != "html":
        return
    out, used = Path(app.outdir), set()
    for page in out.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        used |= set(ICON.findall(text))
        light = ICON_SCRIPT.sub("", text)
        if page.name != "search.html":
            light = SEARCH_SCRIPT.sub("", light)
        if light != text:
            page.write_text(light, encoding="utf-8")
    sheet = (out / "_static/styles/pydata-sphinx-theme.css").read_text(encoding="utf-8")
    codes = {
        int(code, 16)
        for selectors, code in ICON_RULE.findall(sheet)
        if used & set(ICON.findall(selectors))
    }
    for font in (out / "_static" / FONTS).glob("*.ttf"):
        keep_glyphs(font, codes)
    (out / "_static/scripts/fontawesome.js").unlink(missing_ok=True)


def keep_glyphs(path, codes):
    """Cut a font down to some characters, both in its own form and compressed."""
    font = TTFont(path)
    subsetter = subset.Subsetter()
    subsetter.populate(unicodes=codes)
    subsetter.subset(font)
    font.save(path)
    font.flavor = "woff2"
    font.save(path.with_suffix(".woff2"))


def setup(app):
    app.connect("config-inited", point_to_own_mathjax)
    app.connect("html-page-context", drop_loaders, priority=900)
    app.connect("build-finished", copy_mathjax)
    app.connect("build-finished", lighten, priority=900)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
