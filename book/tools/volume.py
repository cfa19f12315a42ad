"""The built site's pages as leaves of one volume, which pdf.py prints and epub.py packs.

A leaf is the article of a page without what needs a screen: what folds is open, a figure that
moves is its still picture, the code that only draws a figure is left out, and links between pages
lead to places in the volume.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

import yaml
from bs4 import BeautifulSoup
from bs4.element import Tag
from tree import ROOT, SITE, config, html, pages

# Signs, switches and scripts, which mean nothing on paper.
SCREEN_ONLY = (
    "script, style, noscript, button, template, svg.sd-octicon, .headerlink, .viewcode-link, "
    ".toctree-wrapper, .cite-page, .sd-summary-state-marker, p.expanded, .mdm-live, "
    ".cell.tag_hide-input > details"
)


@dataclass
class Leaf:
    """One page of the book: its file name in the volume, its heading, its text."""

    name: str
    title: str
    part: str
    article: Tag


def settings() -> dict[str, str]:
    """Title and author of the book."""
    return {key: str(config()[key]) for key in ("title", "author", "copyright")}


def leaf_name(page: Path) -> str:
    """What the built page `page` is called in the volume."""
    return "-".join(page.relative_to(SITE).with_suffix("").parts).removeprefix("book-")


def leaves(together: bool) -> list[Leaf]:
    """Every page of the book in order; `together` in one document, else one document each.

    The index of names is left out: it leads to places on the site.
    """
    if not SITE.exists():
        raise FileNotFoundError("there is no site yet, and the volume is made of it: make book")
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))
    parts = {ch["file"]: part["caption"] for part in toc["parts"] for ch in part["chapters"]}
    bound = [path for path, _ in pages() if path.stem != "genindex"]
    names = {html(path): leaf_name(html(path)) for path in bound}
    found = []
    for path in bound:
        page = html(path)
        soup = BeautifulSoup(page.read_text(encoding="utf-8"), "html.parser")
        article = soup.find("article")
        clean(article, soup)
        place_links(article, page, names, together)
        title = " ".join(article.find("h1").get_text().split())
        part = parts.get(path.relative_to(ROOT).with_suffix("").as_posix(), "")
        found.append(Leaf(names[page], title, part, article))
    return found


def clean(article: Tag, soup: BeautifulSoup) -> None:
    """Take out what needs a screen, open what folds."""
    for figure in article.select("figure.mdm-explorable"):
        caption = figure.find("figcaption")
        for part in figure.find_all(True, recursive=False):
            if part is not caption and "mdm-still" not in part.get("class", []):
                part.decompose()
        if caption:
            figure.append(caption)  # under the picture, as everywhere else
    for tag in article.select(SCREEN_ONLY):
        if not tag.decomposed:
            tag.decompose()
    for details in article.find_all("details"):
        summary = details.find("summary")
        words = " ".join(summary.get_text().split())
        summary.replace_with(heading := soup.new_tag("p", attrs={"class": "unfolded-title"}))
        heading.string = words.removeprefix("Show the ").capitalize() if words else ""
        details.name, details.attrs = "div", {**_id(details), "class": "unfolded"}


def _id(tag: Tag) -> dict[str, str]:
    return {"id": tag["id"]} if tag.get("id") else {}


def place_links(article: Tag, page: Path, names: dict[Path, str], together: bool) -> None:
    """Links to pages of the book lead into the volume, others on the site become plain text."""
    own = names[page]
    for link in article.find_all("a", href=True):
        parts = urlsplit(link["href"])
        if parts.scheme or parts.netloc:
            continue
        target = (page.parent / unquote(parts.path)).resolve() if parts.path else page
        if target not in names:
            link.unwrap()
            continue
        name, fragment = names[target], unquote(parts.fragment)
        if together:
            link["href"] = f"#{place(name, fragment)}"
        else:
            file = "" if name == own and fragment else f"{name}.xhtml"
            link["href"] = file + (f"#{fragment}" if fragment else "")
    for image in article.find_all("img", src=True):
        if not re.match(r"data:|https?:", image["src"]):
            source = (page.parent / unquote(urlsplit(image["src"]).path)).resolve()
            image["src"] = source.relative_to(SITE).as_posix()
    if together:
        for tag in article.find_all(id=True):
            tag["id"] = place(own, tag["id"])
        article["id"] = own


def place(name: str, fragment: str = "") -> str:
    """The id of a place in the one document."""
    return f"{name}--{fragment}" if fragment else name


def mathjax_settings() -> str:
    """The site's own MathJax with its own settings: formulas come out as they do there.

    Without the copy of each formula for screen readers, which no paper needs.
    """
    component = next((SITE / "_static" / "mathjax").glob("tex*.js"))
    own = "<script>window.MathJax = {};</script>"
    for page in sorted(SITE.glob("book/**/*.html")):
        text = page.read_text(encoding="utf-8")
        if found := re.search(r"<script[^>]*>\s*window\.MathJax\s*=.*?</script>", text, re.S):
            own = re.sub(r"<script[^>]*>", "<script>", found[0])
            break
    plain = (  # with the menu's setting, which would have the last word
        "{...MathJax.options, enableMenu: false, enableAssistiveMml: false,"
        " menuOptions: {settings: {assistiveMml: false}}}"
    )
    return (
        f"{own}<script>MathJax.options = {plain};</script>"
        f'<script src="{component.as_uri()}"></script>'
    )


def browser_flags() -> list[str]:
    """Chromium asks the network nothing and reads files that lie beside a file."""
    return [
        *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
        *("--disable-background-networking", "--disable-component-update"),
        "--allow-file-access-from-files",
    ]
