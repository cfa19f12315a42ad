"""Print the whole book into one PDF: `make pdf` (after `make book`).

Chromium prints one document that holds all pages of the site.  It is printed twice: the first time
says on which page each chapter begins, the second time the table of contents says so too.
"""

import os
import re
from pathlib import Path

import matplotlib
from playwright.sync_api import sync_playwright
from pypdf import PdfReader, PdfWriter
from pypdf.generic import NameObject, TextStringObject
from tree import BUILD, SITE, address, find_browser
from volume import Leaf, browser_flags, leaves, mathjax_settings, settings

PDF = BUILD / "masked-diffusion-language-models.pdf"
STYLE = Path(__file__).with_name("print.css")
FONTS = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
FACES = {
    ("Book", "normal", "400"): "STIXGeneral.ttf",
    ("Book", "italic", "400"): "STIXGeneralItalic.ttf",
    ("Book", "normal", "700"): "STIXGeneralBol.ttf",
    ("Book", "italic", "700"): "STIXGeneralBolIta.ttf",
    ("Code", "normal", "400"): "DejaVuSansMono.ttf",
    ("Code", "normal", "700"): "DejaVuSansMono-Bold.ttf",
}
WIDTH = 643  # of the text on paper, 170 mm, in CSS pixels
SHRINK = """() => {
  const shrink = (wide, needs, room) => {
    if (needs > room) wide.style.fontSize = `${Math.floor(100 * room / needs) - 1}%`;
  };
  for (const formula of document.querySelectorAll("mjx-container[display]")) {
    const number = formula.parentElement.querySelector(":scope > .eqno");
    const room = formula.clientWidth - (number ? 2 * number.offsetWidth + 12 : 0);
    shrink(formula, formula.querySelector("mjx-math").getBoundingClientRect().width, room);
  }
  for (const table of document.querySelectorAll("table"))
    shrink(table, table.scrollWidth, table.parentElement.clientWidth);
}"""
NUMBERS = """numbers => {
  for (const [name, number] of Object.entries(numbers))
    document.querySelector(`[data-page-of="${name}"]`).textContent = number;
}"""


def document(found: list[Leaf]) -> str:
    """All leaves as one HTML document, with a title page and a table of contents."""
    about, contents, body, part = settings(), [], [], ""
    for leaf in found:
        if leaf.part != part:
            part = leaf.part
            contents.append(f'<li class="part">{part}</li>')
            body.append(f'<section class="part"><h1>{part}</h1></section>')
        contents.append(
            f'<li><a href="#{leaf.name}">{leaf.title}</a><span class="dots"></span>'
            f'<span data-page-of="{leaf.name}">000</span></li>'
        )
        for level in (4, 3, 2, 1):  # a part stands above its chapters
            for heading in leaf.article.find_all(f"h{level}"):
                heading.name = f"h{level + 1}"
        leaf.article["style"] = f"page: {leaf.name}"
        body.append(str(leaf.article))
    faces = "\n".join(
        f'@font-face {{ font-family: "{name}"; font-style: {style}; font-weight: {weight};'
        f' src: url("{(FONTS / file).as_uri()}"); }}'
        for (name, style, weight), file in FACES.items()
    )
    heads = "\n".join(
        f'@page {leaf.name} {{ @top-right {{ content: "{_css(leaf.title)}"; }} }}' for leaf in found
    )
    return f"""<!doctype html>
<html lang="en" data-theme="light"><head><meta charset="utf-8"><title>{about["title"]}</title>
<base href="{SITE.as_uri()}/">
<link rel="stylesheet" href="_static/pygments.css">
<style>{faces}\n{heads}\n{STYLE.read_text(encoding="utf-8")}</style>
{mathjax_settings()}</head>
<body class="mathjax_process">
<section class="title"><p class="name">{about["title"]}</p><p>{about["author"]}</p>
<p>{about["copyright"]}</p><p class="where">{address()}<br>
Text and figures: CC BY 4.0. Code: MIT licence.</p></section>
<nav class="contents"><p class="name">Contents</p><ul>{"".join(contents)}</ul></nav>
{"".join(body)}</body></html>"""


def _css(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')


def typeset(page) -> None:
    """Wait until every formula is drawn; whatever is wider than the paper is made smaller."""
    page.wait_for_function("window.MathJax && MathJax.startup && MathJax.startup.promise")
    page.evaluate("MathJax.startup.promise")
    page.evaluate("document.fonts.ready")
    page.evaluate(SHRINK)


def page_numbers(path: Path, names: list[str]) -> dict[str, int]:
    """The page, from 1, on which each of the places `names` is."""
    reader = PdfReader(path)
    places = {name.lstrip("/"): found for name, found in reader.named_destinations.items()}
    return {name: reader.get_destination_page_number(places[name]) + 1 for name in names}


def mend_outline(entry, titles: list[str]) -> None:
    """Chromium writes a heading that begins a page twice, and no space where its line breaks."""
    while entry is not None:
        entry = entry.get_object()
        mend_outline(entry.get("/First"), titles)
        written = "".join(entry.get("/Title", "").split())
        for title in titles:
            number, name = re.fullmatch(r"(\d+\.|)(.*)", "".join(title.split())).groups()
            if written.startswith(2 * number or name) and written.endswith(name):
                entry[NameObject("/Title")] = TextStringObject(title)
        entry = entry.get("/Next")


def main(target: Path = PDF) -> None:
    found = leaves(together=True)
    names = [leaf.name for leaf in found]
    source = BUILD / "volume.html"
    source.write_text(document(found), encoding="utf-8")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_browser(), args=browser_flags())
        page = browser.new_page(viewport={"width": WIDTH, "height": 900})
        page.emulate_media(media="print")
        page.set_default_timeout(600_000)
        page.goto(source.as_uri())
        typeset(page)
        printing = {"path": target, "prefer_css_page_size": True, "print_background": True}
        page.pdf(**printing)
        page.evaluate(NUMBERS, page_numbers(target, names))
        page.pdf(**printing, outline=True, tagged=True)
        browser.close()
    about = settings()
    writer = PdfWriter(clone_from=target)
    writer.add_metadata({"/Title": about["title"], "/Author": about["author"]})
    mend_outline(writer.root_object["/Outlines"].get_object()["/First"], [x.title for x in found])
    writer.write(target)
    count, size = len(PdfReader(target).pages), target.stat().st_size / 1e6
    print(f"{count} pages, {size:.1f} MB: {os.path.relpath(target)}")


if __name__ == "__main__":
    main()
