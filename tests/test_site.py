"""The built pages: nothing from outside, nothing raw, every image described, links that resolve.

These tests read _build/html, which `make book` and `make test` build; without it they are skipped.
"""

import gzip
import json
import os
import posixpath
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from collections import Counter
from functools import cache
from pathlib import Path
from urllib.parse import unquote, urlsplit

import colab
import execute
import pytest
import yaml
from bs4 import BeautifulSoup
from tree import ROOT, SITE, address, chapters, config, html, pages

import mdm_lab

pytestmark = pytest.mark.skipif(not SITE.exists(), reason="no site: make book")

PAGES = [html(path) for path, _ in pages()]
IDS = [path.relative_to(SITE).as_posix() for path in PAGES]
every_page = pytest.mark.parametrize("page", PAGES, ids=IDS)
OUTSIDE = re.compile(r"^\s*(https?:)?//", re.I)
LOADS = {
    "script": "src", "img": "src", "iframe": "src", "source": "src", "video": "src", "audio": "src",
    "embed": "src", "object": "data",
}  # fmt: skip
LOADING_LINKS = {"stylesheet", "icon", "shortcut", "preload", "prefetch", "preconnect", "manifest"}


@cache
def soup(page: Path) -> BeautifulSoup:
    return BeautifulSoup(page.read_text(encoding="utf-8"), "html.parser")


@every_page
def test_page_loads_nothing_from_outside(page):
    found = [
        tag[LOADS[tag.name]] for tag in soup(page).find_all(list(LOADS)) if tag.get(LOADS[tag.name])
    ]
    found += [
        tag["href"]
        for tag in soup(page).find_all("link")
        if LOADING_LINKS & set(tag.get("rel", []))
    ]
    found += re.findall(r"(?:@import\s+|url\()['\"]?([^'\")]+)", str(soup(page).find_all("style")))
    assert [address for address in found if OUTSIDE.match(address)] == []
    for script in soup(page).find_all("script", src=False):
        assert not re.search(r"https?://(?!colab\.|github\.)", script.string or ""), script


def test_styles_load_nothing_from_outside():
    for sheet in SITE.rglob("*.css"):
        text = re.sub(r"/\*.*?\*/", "", sheet.read_text(encoding="utf-8"), flags=re.S)
        found = re.findall(r"(?:@import\s+|url\()\s*['\"]?([^'\")]+)", text)
        assert [address for address in found if OUTSIDE.match(address)] == [], sheet


@every_page
def test_page_shows_nothing_raw(page):
    article = BeautifulSoup(str(soup(page).find("article")), "html.parser")
    for tag in article.find_all(["code", "pre", "script", "style"]):
        tag.decompose()
    text = article.get_text()
    assert ":::" not in text
    assert not re.search(
        r"\{[a-z:]+\}(`|\w)", re.sub(r"\\\(.*?\\\)|\\\[.*?\\\]", "", text, flags=re.S)
    )
    assert "$$" not in text
    assert not soup(page).find_all(class_="problematic")


@every_page
def test_images_are_described(page):
    for image in soup(page).find("main").find_all("img"):
        alt = image.get("alt", "").strip()
        assert alt and not re.search(r"\.(png|jpe?g|svg|gif)$", alt, re.I), image


@every_page
def test_internal_links_resolve(page):
    for link in soup(page).find_all("a", href=True):
        parts = urlsplit(link["href"])
        if parts.scheme or parts.netloc:
            continue
        target = (page.parent / unquote(parts.path)).resolve() if parts.path else page
        assert target.exists(), link["href"]
        if parts.fragment and target.suffix == ".html":
            fragment = unquote(parts.fragment)
            assert soup(target).find(id=fragment) or soup(target).find(attrs={"name": fragment}), (
                link
            )


@every_page
def test_ids_are_unique_in_the_text(page):
    counts = Counter(tag["id"] for tag in soup(page).find("article").find_all(id=True))
    assert [name for name, count in counts.items() if count > 1] == []


@every_page
def test_page_has_one_title_and_a_language(page):
    assert len(soup(page).find("article").find_all("h1")) == 1
    assert soup(page).find("html").get("lang") == "en"


@pytest.mark.parametrize("path", chapters(), ids=[path.stem for path in chapters()])
def test_chapter_opens_in_colab(path):
    launch = colab.colab_address(path)
    assert soup(html(path)).find("a", href=launch), launch
    assert launch.endswith(f"/blob/{config()['repository']['branch']}/{path.relative_to(ROOT)}")


def test_colab_edition_numbers_as_the_site():
    """`colab.collect_labels` counts for itself; here its numbers meet those that Sphinx gave."""
    for name, label in colab.collect_labels(pages()).items():
        place = soup(html(label.page)).find(id=re.compile(f"^(equation-)?{re.escape(name)}$", re.I))
        assert place is not None, name
        if name.startswith("eq-"):
            assert label.text in place.parent.get_text() + place.get_text(), (name, label.text)
        elif re.match(r"(Fig\.|[A-Z][a-z]+) \d+(\.\d+)?$", label.text):
            assert label.text in " ".join(place.get_text().split()), (name, label.text)


def test_site_serves_its_own_mathjax():
    with_maths = [page for page in PAGES if soup(page).find(class_="math")]
    for page in with_maths:
        sources = [tag["src"] for tag in soup(page).find_all("script", src=re.compile("mathjax"))]
        assert len(sources) == 1
        assert (page.parent / urlsplit(sources[0]).path).resolve().exists()
    assert list((SITE / "_static" / "mathjax").rglob("*.woff"))


def test_repository_button_leads_to_the_one_address():
    assert soup(PAGES[-1]).find("a", href=address())


# What a page weighs, and where it comes from

LIMIT = 1_000_000  # bytes, compressed, before images
HOME = config()["html"]["baseurl"]


def loaded(page: Path) -> set[Path]:
    """The styles, scripts and fonts that a page may load, through imports and the like."""
    asked = [tag["src"] for tag in soup(page).find_all("script", src=True)]
    asked += [
        tag["href"]
        for tag in soup(page).find_all("link", href=True)
        if {"stylesheet", "preload"} & set(tag.get("rel", []))
    ]
    found, todo = set(), [(page.parent / urlsplit(name).path).resolve() for name in asked]
    while todo:
        path = todo.pop()
        if path in found:
            continue
        found.add(path)
        if path.suffix == ".css":
            text = path.read_text(encoding="utf-8")
            names = re.findall(r"(?:@import\s+|url\()\s*['\"]?([^'\")]+)", text)
            local = [urlsplit(name).path for name in names if not name.startswith(("data:", "#"))]
            todo += [(path.parent / name).resolve() for name in local if name]
        elif path.parent.name == "mathjax":
            todo += (path.parent / "output" / "chtml" / "fonts").rglob("*.woff")
    return {path for path in found if path.suffix != ".svg"}


@cache
def compressed(path: Path) -> int:
    return len(gzip.compress(path.read_bytes()))


@every_page
def test_page_weighs_less_than_a_megabyte(page):
    parts = loaded(page)
    assert all(part.exists() for part in parts), [part for part in parts if not part.exists()]
    weights = {part.name: compressed(part) for part in {*parts, page}}
    assert sum(weights.values()) < LIMIT, sorted(weights.items(), key=lambda pair: -pair[1])[:9]


def test_scripts_ask_nobody():
    """No script of the site's own names an address; those of others are watched in a browser."""
    own = {path.name for path in (ROOT / "book" / "assets").glob("*.js")} | {"previews-data.js"}
    for name in own:
        text = (SITE / "_static" / name).read_text(encoding="utf-8")
        assert not re.search(r"\bfetch\(|XMLHttpRequest|\bimport\(|sendBeacon", text), name
        assert not re.search(r"(?:src|srcset|data)=\\?[\"'](?:https?:)?//", text), name


def test_icons_in_use_are_in_the_fonts():
    from fontTools.ttLib import TTFont

    sheet = (SITE / "_static/styles/pydata-sphinx-theme.css").read_text(encoding="utf-8")
    codes = {}
    for selectors, code in re.findall(r'([^{}]+)\{content:"\\([0-9a-f]+)"\}', sheet):
        for name in re.findall(r"\.(fa-[\w-]+):", selectors):
            codes[name] = int(code, 16)
    held = set()
    for font in (SITE / "_static/vendor/fontawesome/webfonts").glob("*.woff2"):
        held |= set(TTFont(font).getBestCmap())
    used = {
        name for page in PAGES for tag in soup(page).find_all("i") for name in tag.get("class", [])
    }
    drawn = used & set(codes)
    assert len(drawn) > 10
    assert {name for name in drawn if codes[name] not in held} == set()


# What a page says about itself


def meta(page: Path, name: str) -> str:
    tag = soup(page).find("meta", attrs={"name": name}) or soup(page).find("meta", property=name)
    return tag["content"] if tag else ""


@every_page
def test_page_describes_itself_to_others(page):
    where = page.relative_to(SITE).as_posix()
    said = meta(page, "description")
    assert 20 < len(said) < 260 and said == meta(page, "og:description") and "\\" not in said
    assert meta(page, "og:title") and meta(page, "og:title") in soup(page).title.string
    assert meta(page, "og:url") == HOME + where
    assert len(meta(page, "og:image:alt")) > 20
    picture = SITE / meta(page, "og:image").removeprefix(HOME)
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_descriptions_differ():
    said = Counter(meta(page, "description") for page in PAGES)
    assert [text for text, times in said.items() if times > 1] == []


@every_page
def test_page_says_how_to_cite_it(page):
    note = soup(page).find("details", class_="cite-page")
    if page.name == "genindex.html":
        return
    assert not note.has_attr("open")
    url = HOME + page.relative_to(SITE).as_posix()
    plain, entry = note.find("p").get_text(), note.find("pre").get_text()
    for text in (plain, entry):
        assert url in text and f"version {mdm_lab.__version__}" in text
        assert meta(page, "og:title") in text and config()["author"] in text
    day = re.search(r"\b(20\d\d)-(\d\d)-\d\d\b", plain)
    assert f"year    = {{{day[1]}}}" in entry and f"month   = {{{int(day[2])}}}" in entry
    assert entry.count("{") == entry.count("}")


@pytest.mark.parametrize("path", [path for path, _ in pages()], ids=IDS)
def test_buttons_lead_to_the_source(path):
    page = html(path)
    if page.name == "genindex.html":
        return
    source = path.relative_to(ROOT).as_posix()
    assert soup(page).find("a", href=f"{address()}/edit/main/{source}")
    if path.suffix == ".ipynb":
        downloads = soup(page).find_all("a", href=re.compile(r"\.ipynb$"))
        files = [(page.parent / tag["href"]) for tag in downloads if "://" not in tag["href"]]
        assert files and all(file.exists() for file in files)


def test_addresses_stand_in_one_place():
    for path in [*(ROOT / "book").rglob("*.py"), *(ROOT / "book").rglob("*.md")]:
        text = path.read_text(encoding="utf-8")
        assert HOME not in text and HOME.split("//")[1].split("/")[0] not in text, path


def test_landing_page_shows_the_book_and_a_sentence_to_unmask():
    page = soup(PAGES[0])
    first = [tag.name for tag in page.find("article").find("section").find_all(recursive=False)]
    assert first.index("figure") < first.index("section")  # before any further heading
    figure = page.find("figure", class_="mdm-explorable")
    assert figure["data-figure"] == "unmask-sentence" and figure.find("img")["alt"]


def test_sidebar_has_every_part_and_page():
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))
    sidebar = soup(PAGES[1]).find(id="pst-primary-sidebar")
    captions = [tag.get_text() for tag in sidebar.find_all(class_="caption-text")]
    assert captions == [part["caption"] for part in toc["parts"]]
    links = {(PAGES[1].parent / tag["href"]).resolve() for tag in sidebar.find_all("a", href=True)}
    assert {page.resolve() for page in PAGES if page != PAGES[1]} <= links


# Pages about pages


def test_site_map_names_every_page():
    tree = ElementTree.parse(SITE / "sitemap.xml")
    places = [tag.text for tag in tree.iter() if tag.tag.endswith("}loc")]
    assert sorted(places) == sorted(HOME + page.relative_to(SITE).as_posix() for page in PAGES)


def test_missing_page_works_at_any_depth():
    page = BeautifulSoup((SITE / "404.html").read_text(encoding="utf-8"), "html.parser")
    assert page.find_all(src=True) == [] and page.find_all("link") == []
    places = [tag["href"] for tag in page.find_all("a")] + [page.find("form")["action"]]
    assert len(places) > len(PAGES)
    for place in places:
        assert place.startswith(HOME) and (SITE / place.removeprefix(HOME)).exists(), place


def test_root_leads_to_the_first_page():
    page = BeautifulSoup((SITE / "index.html").read_text(encoding="utf-8"), "html.parser")
    target = page.find("meta", attrs={"http-equiv": "refresh"})["content"].split("url=")[1]
    assert SITE / target == PAGES[0]
    assert page.find("meta", property="og:title")["content"] == config()["title"]


@pytest.mark.parametrize("path", chapters(), ids=lambda path: path.stem)
def test_every_chapter_has_a_figure_that_moves(path):
    for figure in soup(html(path)).select("article figure.mdm-explorable"):
        assert figure.find("script", type="application/json") and figure.find("img", alt=True)
    assert soup(html(path)).select("article figure.mdm-explorable")


def test_status_page_has_every_chapter_from_its_record():
    known = json.loads(execute.STATUS.read_text(encoding="utf-8"))
    table = soup(SITE / "book" / "status.html").find("table")
    rows = {}
    for row in table.find("tbody").find_all("tr"):
        link, *rest = row.find_all("td")
        rows[(SITE / "book" / link.find("a")["href"]).resolve()] = [c.get_text() for c in rest]
    assert set(rows) == {html(path).resolve() for path in chapters()}
    for path in chapters():
        name = path.relative_to(ROOT).as_posix()
        assert name in known, f"never recorded: make notebooks CHAPTER={name}"
        run = known[name]
        assert rows[html(path).resolve()] == [f"{run['seconds']:.1f}", run["date"], run["tier"]]
        assert run["code"] == execute.code_digest(path), f"changed since: run {name}"


def test_index_has_terms_definitions_and_functions():
    entries = {tag.get_text() for tag in soup(SITE / "genindex.html").find("article").find_all("a")}
    text = soup(SITE / "genindex.html").find("article").get_text()
    glossary = [tag.next_element for tag in soup(SITE / "book/glossary.html").select("dt[id]")]
    for term in glossary:
        assert str(term).strip() in text
    assert {"Total correlation", "One step"} <= entries
    assert any("unmask_sentence" in entry for entry in entries)


def test_module_and_chapters_link_to_each_other():
    page = SITE / "book" / "api.html"
    tied = 0
    for section in soup(page).find("article").find("section").find_all("section", recursive=False):
        first = section.find("p")
        if not re.match(r"Chapters?:", first.get_text()):
            continue
        name = section.find(id=re.compile(r"^module-mdm_lab\."))["id"].removeprefix("module-")
        for link in first.find_all("a"):
            chapter = (page.parent / urlsplit(link["href"]).path).resolve()
            back = soup(chapter).find("article").find_all("a", href=re.compile(r"api\.html#"))
            names = [tag["href"].split("#")[1].removeprefix("module-") for tag in back]
            assert any(n == name or n.startswith(f"{name}.") for n in names), (chapter, name)
            tied += 1
    assert tied >= 15


def test_docstrings_link_to_what_they_compute():
    links = soup(SITE / "book" / "api.html").find("article").find_all("a", class_="reference")
    assert sum(bool(re.search(r"#(thm|eq|equation|prop|def)-", tag["href"])) for tag in links) > 10


# Previews


@cache
def previews() -> dict[str, str]:
    text = (SITE / "_static" / "previews-data.js").read_text(encoding="utf-8")
    return json.loads(text[text.index("{") : text.rindex("}") + 1])


def test_every_definition_and_reference_has_a_preview():
    kinds = re.compile(r"^(equation-|term-|thm-|def-|prop-|lem-|cor-)")
    seen = Counter()
    for page in PAGES:
        for link in soup(page).find("article").find_all("a", class_="reference internal"):
            path, _, name = link["href"].partition("#")
            base = page.relative_to(SITE).as_posix()
            where = posixpath.normpath(posixpath.join(posixpath.dirname(base), path or base))
            where = base if not path else where
            if kinds.match(name) or (where == "book/references.html" and name.startswith("id")):
                assert f"{where}#{name}" in previews(), link
                seen[kinds.match(name)[1] if kinds.match(name) else "source"] += 1
    assert all(seen[kind] > 5 for kind in ("equation-", "term-", "thm-", "def-", "source")), seen


def test_previews_are_whole_and_hold_nothing_live():
    for name, text in previews().items():
        found = BeautifulSoup(text, "html.parser")
        assert found.get_text().strip() and not found.find_all(["a", "script"])
        assert not found.find_all(id=True), name
        for tag in ("div", "dl", "dd", "section", "figure", "span", "p"):
            assert text.count(f"<{tag} ") + text.count(f"<{tag}>") == text.count(f"</{tag}>"), name
        for image in found.find_all("img"):
            assert (SITE / image["src"].removeprefix("@/")).exists() or "data:" in image["src"]


# A reference that leads nowhere fails the build


def test_a_broken_reference_fails_the_build(tmp_path):
    """The book's own settings on a book of one page, once whole, then with a broken reference."""
    settings = config()
    settings["bibtex_bibfiles"] = ["none.bib"]
    (tmp_path / "none.bib").touch()
    settings["sphinx"]["extra_extensions"].remove("sphinx.ext.viewcode")
    for name in ("logo", "html"):
        settings.pop(name)
    settings["sphinx"]["local_extensions"] = {}
    settings["sphinx"]["config"].pop("html_static_path")
    settings["sphinx"]["config"].pop("html_css_files")
    settings["sphinx"]["config"].pop("html_js_files")
    (tmp_path / "_config.yml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    (tmp_path / "_toc.yml").write_text("format: jb-book\nroot: page\n", encoding="utf-8")
    command = [
        Path(sys.executable).with_name("jupyter-book"),
        *("build", ".", "-n", "-W", "--builder", "custom", "--custom-builder", "dummy"),
    ]
    for text, passes in {
        "(here)=\n# Page\n\nSee {ref}`here`.\n": True,
        "(here)=\n# Page\n\nSee {ref}`nowhere`.\n": False,
        "(here)=\n# Page\n\nSee [this](nowhere.md).\n": False,
        "(here)=\n# Page\n\nSee {prf:ref}`thm-nowhere`.\n": False,
    }.items():
        (tmp_path / "page.md").write_text(text, encoding="utf-8")
        run = subprocess.run(
            command, cwd=tmp_path, capture_output=True, text=True, env={**os.environ}
        )
        assert (run.returncode == 0) == passes, run.stdout[-2000:] + run.stderr[-2000:]
