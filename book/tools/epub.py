"""Pack the whole book into an EPUB: `make epub` (after `make book`).

A reading system need not run scripts, so MathJax turns each formula into MathML here, once.  Those
that know no MathML show the formula's source, which stands beside it as `alttext`.
"""

import os
import re
import uuid
import zipfile
from datetime import UTC, datetime
from html import escape
from mimetypes import guess_type
from pathlib import Path
from urllib.parse import unquote_to_bytes
from xml.etree import ElementTree

from playwright.sync_api import sync_playwright
from tree import BUILD, SITE, address, find_browser
from volume import Leaf, browser_flags, leaves, mathjax_settings, settings

EPUB = BUILD / "masked-diffusion-language-models.epub"
STYLE = Path(__file__).with_name("epub.css")
CONTAINER = """<?xml version="1.0" encoding="UTF-8"?>
<container version="1.0" xmlns="urn:oasis:names:tc:opendocument:xmlns:container"><rootfiles>
<rootfile full-path="EPUB/package.opf" media-type="application/oebps-package+xml"/>
</rootfiles></container>"""
XHTML = """<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE html>
<html xmlns="http://www.w3.org/1999/xhtml" xmlns:epub="http://www.idpf.org/2007/ops"
 lang="en" xml:lang="en">
<head><meta charset="utf-8"/><title>{title}</title>
<link rel="stylesheet" type="text/css" href="book.css"/></head>
<body>{body}</body></html>"""
FORMULA = re.compile(r"^\s*(?:\\\((.*)\\\)|\\\[(.*)\\\])\s*$", re.S)
TO_MATHML = """async formulas => {
  const found = [];
  for (const [tex, display] of formulas) found.push(await MathJax.tex2mmlPromise(tex, {display}));
  return found;
}"""
# What XHTML knows of HTML's attributes; the rest served the site's styles and scripts.
KEPT = {"id", "class", "href", "src", "alt", "title", "lang", "start", "colspan", "rowspan"}
PLAIN = ("pre", "code")  # colours of code do not matter on a reader


def formulas(found: list[Leaf]) -> list[tuple[str, bool]]:
    """The source of every formula and whether it stands on a line of its own, each once."""
    sources = {}
    for leaf in found:
        for tag in leaf.article.select(".math"):
            sources[_formula(tag)] = None
    return list(sources)


def _formula(tag) -> tuple[str, bool]:
    number = tag.find(class_="eqno")
    text = "".join(piece for piece in tag.find_all(string=True) if not _inside(piece, number))
    match = FORMULA.match(text)
    if match is None:
        raise ValueError(f"not a formula between \\( \\) or \\[ \\]: {text[:80]!r}")
    return (match[1], False) if match[1] is not None else (match[2], True)


def _inside(piece, tag) -> bool:
    return tag is not None and tag in piece.parents


def mathml(sources: list[tuple[str, bool]]) -> dict[tuple[str, bool], str]:
    """Each formula as MathML, made by the MathJax of the site."""
    page_source = BUILD / "formulas.html"
    page_source.write_text(f"<!doctype html><title>x</title>{mathjax_settings()}", encoding="utf-8")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_browser(), args=browser_flags())
        page = browser.new_page()
        page.set_default_timeout(600_000)
        page.goto(page_source.as_uri())
        page.wait_for_function("() => Boolean(window.MathJax && MathJax.tex2mmlPromise)")
        results = page.evaluate(TO_MATHML, sources)
        browser.close()
    page_source.unlink()
    return {
        source: _tidy(result, source[0]) for source, result in zip(sources, results, strict=True)
    }


def _tidy(result: str, tex: str) -> str:
    if "<merror" in result:
        raise ValueError(f"MathJax cannot read {tex!r}")
    result = re.sub(r"<!--.*?-->|\s+data-[\w-]+=\"[^\"]*\"", "", result, flags=re.S)
    # Browsers align the columns of aligned formulas only where a style says so.
    root = ElementTree.fromstring(result)
    for table in root.iter("{http://www.w3.org/1998/Math/MathML}mtable"):
        sides = table.get("columnalign", "").split()
        for row in table:
            for index, cell in enumerate(row if sides else []):
                cell.set("style", f"text-align: {sides[min(index, len(sides) - 1)]}")
    root.set("alttext", " ".join(tex.split()))
    ElementTree.register_namespace("", "http://www.w3.org/1998/Math/MathML")
    return ElementTree.tostring(root, encoding="unicode")


def chapter(leaf: Leaf, drawn: dict[tuple[str, bool], str]) -> str:
    """A leaf as XHTML; raises where the result is not well formed."""
    marks = {}
    for tag in leaf.article.select(".math"):
        number, mark = tag.find(class_="eqno"), f"formula-{len(marks)}-here"
        marks[mark] = drawn[_formula(tag)]
        tag.clear()
        tag.append(mark)
        if number:
            tag.append(number)
    for tag in leaf.article.find_all(PLAIN):
        tag.string = tag.get_text()
    for tag in [leaf.article, *leaf.article.find_all(True)]:
        tag.attrs = {k: v for k, v in tag.attrs.items() if k in KEPT}
    for index, image in enumerate(leaf.article.find_all("img")):
        if image["src"].startswith("data:"):
            image["src"] = f"_images/{leaf.name}-{index}.svg"
    body = re.sub(r"formula-\d+-here", lambda found: marks[found[0]], str(leaf.article))
    text = XHTML.format(title=escape(leaf.title), body=body)
    ElementTree.fromstring(text.encode())
    return text


def images(leaf: Leaf) -> dict[str, bytes]:
    """The pictures of a leaf by the names that `chapter` gives them."""
    found = {}
    for index, image in enumerate(leaf.article.find_all("img")):
        source = image["src"]
        if source.startswith("data:image/svg+xml,"):
            found[f"_images/{leaf.name}-{index}.svg"] = unquote_to_bytes(source.partition(",")[2])
        else:
            found[source] = (SITE / source).read_bytes()
    return found


def contents(found: list[Leaf]) -> str:
    """The table of contents: parts with their chapters, chapters with their sections."""
    entries, part = [], ""
    for leaf in found:
        if leaf.part != part:
            entries += ["</ol></li>"] if part else []
            part = leaf.part
            entries.append(f"<li><span>{escape(part)}</span><ol>")
        entries.append(f'<li><a href="{leaf.name}.xhtml">{escape(leaf.title)}</a></li>')
    entries += ["</ol></li>"] if part else []
    body = f'<nav epub:type="toc"><h1>Contents</h1><ol>{"".join(entries)}</ol></nav>'
    return XHTML.format(title="Contents", body=body)


def package(found: list[Leaf], files: dict[str, bytes], with_maths: set[str]) -> str:
    """The package document: what the book is, which files it has, in which order they are read."""
    about = {key: escape(value) for key, value in settings().items()}
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    items = []
    for name in files:
        kind = "application/xhtml+xml" if name.endswith(".xhtml") else guess_type(name)[0]
        properties = "nav" if name == "contents.xhtml" else "mathml" if name in with_maths else ""
        given = f' properties="{properties}"' if properties else ""
        items.append(f'<item id="{_id(name)}" href="{name}" media-type="{kind}"{given}/>')
    spine = "".join(f'<itemref idref="{_id(name)}"/>' for name in files if name.endswith(".xhtml"))
    identifier = uuid.uuid5(uuid.NAMESPACE_URL, address())
    return f"""<?xml version="1.0" encoding="UTF-8"?>
<package xmlns="http://www.idpf.org/2007/opf" version="3.0" unique-identifier="book" xml:lang="en">
<metadata xmlns:dc="http://purl.org/dc/elements/1.1/">
<dc:identifier id="book">urn:uuid:{identifier}</dc:identifier>
<dc:title>{about["title"]}</dc:title><dc:creator>{about["author"]}</dc:creator>
<dc:language>en</dc:language><dc:rights>Text and figures: CC BY 4.0. Code: MIT licence.</dc:rights>
<meta property="dcterms:modified">{now}</meta></metadata>
<manifest>{"".join(items)}</manifest><spine>{spine}</spine></package>"""


def _id(name: str) -> str:
    return "file-" + re.sub(r"[^\w-]", "-", name)


def main(target: Path = EPUB) -> None:
    found = leaves(together=False)
    drawn = mathml(formulas(found))
    pictures = {name: data for leaf in found for name, data in images(leaf).items()}
    texts = {f"{leaf.name}.xhtml": chapter(leaf, drawn).encode() for leaf in found}
    files = {"contents.xhtml": contents(found).encode(), **texts, **pictures}
    files["book.css"] = STYLE.read_bytes()
    with_maths = {name for name, text in texts.items() if b"<math" in text}
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as book:
        book.writestr("mimetype", "application/epub+zip", zipfile.ZIP_STORED)  # first, as it stands
        book.writestr("META-INF/container.xml", CONTAINER)
        book.writestr("EPUB/package.opf", package(found, files, with_maths))
        for name, data in files.items():
            book.writestr(f"EPUB/{name}", data)
    print(f"{len(found)} pages, {target.stat().st_size / 1e6:.1f} MB: {os.path.relpath(target)}")


if __name__ == "__main__":
    main()
