"""The book's other forms: notebooks for students, PDF, EPUB, Binder, a container, publishing.

Those that are made of the built site are looked at where they are: the rest says SKIPPED and how
to make it.
"""

import json
import re
import zipfile
from pathlib import PurePosixPath
from xml.etree import ElementTree

import colab
import epub
import nbformat
import pdf
import pytest
import volume
import yaml
from bs4 import BeautifulSoup
from pypdf import PdfReader
from tree import ROOT, SITE, chapters, config, html, pages

LABELS = colab.collect_labels(pages())
on_the_site = pytest.mark.skipif(not SITE.exists(), reason="no site: make book")
as_pdf = pytest.mark.skipif(not pdf.PDF.exists(), reason="no PDF: make pdf")
as_epub = pytest.mark.skipif(not epub.EPUB.exists(), reason="no EPUB: make epub")
every_chapter = pytest.mark.parametrize("path", chapters(), ids=lambda path: path.stem)
DC = "{http://purl.org/dc/elements/1.1/}"
OPF = "{http://www.idpf.org/2007/opf}"
XHTML = "{http://www.w3.org/1999/xhtml}"


@on_the_site
@every_chapter
def test_page_offers_its_student_notebook(path):
    page = BeautifulSoup(html(path).read_text(encoding="utf-8"), "html.parser")
    links = [link["href"] for link in page.select("a.btn-download-source-button")]
    assert len(links) == 1
    notebook = nbformat.read((html(path).parent / links[0]).resolve(), as_version=4)
    assert notebook.cells[0].source.endswith(f'"{colab.requirement()}"')
    assert not any(cell.get("outputs") for cell in notebook.cells)
    assert any(cell.source == colab.YOUR_CODE for cell in notebook.cells)


@on_the_site
def test_site_links_to_what_publishing_puts_there():
    """No build of the pages makes these files, so no check of links within the site sees them."""
    page = html(ROOT / "book" / "how-to-use.md").read_text(encoding="utf-8")
    folder = f"{config()['html']['baseurl']}download/"
    offered = {
        link["href"].removeprefix(folder)
        for link in BeautifulSoup(page, "html.parser").select(f'a[href^="{folder}"]')
    }
    workflow = (ROOT / ".github" / "workflows" / "publish.yml").read_text(encoding="utf-8")
    stem, ends = re.search(r"cp ([\w-]+)\.\{([\w,]+)\} html/download/", workflow).groups()
    assert offered == {f"{stem}.{end}" for end in ends.split(",")}
    assert offered >= {pdf.PDF.name, epub.EPUB.name}


@on_the_site
@every_chapter
def test_links_to_solutions_lead_to_exercises(path):
    text = "\n".join(cell.source for cell in colab.edition(path, LABELS).cells)
    page = BeautifulSoup(html(path).read_text(encoding="utf-8"), "html.parser")
    places = re.findall(rf"{re.escape(colab.site_address(path))}#([\w-]+)", text)
    assert places and all(page.find(id=place) for place in places)


def test_a_leaf_is_open_and_leads_into_the_volume(tmp_path, monkeypatch):
    monkeypatch.setattr(volume, "SITE", tmp_path)
    page, other = tmp_path / "book" / "a.html", tmp_path / "book" / "part" / "b.html"
    soup = BeautifulSoup(
        """<article><h1 id="top">A<a class="headerlink" href="#top">#</a></h1>
        <details id="x"><summary><span>Proof</span></summary><p>By hand.</p></details>
        <figure class="mdm-explorable"><style>x</style><figcaption>Move me</figcaption>
        <img class="mdm-still" alt="Still." src="data:image/svg+xml,x"><script>1</script></figure>
        <a href="part/b.html#thm">Theorem</a><a href="../search.html">search</a>
        <a href="#top">up</a><a href="https://example.org">out</a><img src="../_images/p.png">
        <div class="cell tag_hide-input"><details><summary>Code</summary>draw()</details>out</div>
        </article>""",
        "html.parser",
    )
    article = soup.find("article")
    volume.clean(article, soup)
    volume.place_links(article, page, {page: "a", other: "part-b"}, together=True)
    text = str(article)
    assert not any(
        part in text for part in ("<details", "<script", "<style", "draw()", "headerlink")
    )
    assert "By hand." in text and "Move me" in text and 'alt="Still."' in text
    assert [a["href"] for a in article.find_all("a")] == [
        "#part-b--thm", "#a--top", "https://example.org"
    ]  # fmt: skip
    assert article.find("h1")["id"] == "a--top" and article["id"] == "a"
    assert article.find_all("img")[1]["src"] == "_images/p.png"


@as_pdf
def test_pdf_is_the_whole_book():
    reader = PdfReader(pdf.PDF)
    assert reader.metadata.title == volume.settings()["title"]
    titles = {
        " ".join(BeautifulSoup(html(p).read_text(encoding="utf-8"), "html.parser")
                 .find("article").find("h1").find(string=True, recursive=False).split())
        for p in chapters()
    }  # fmt: skip
    outline = []

    def walk(entries):
        for entry in entries:
            if isinstance(entry, list):
                walk(entry)
            else:
                outline.append(entry.title)

    walk(reader.outline)
    assert [title for title in titles if not any(title in line for line in outline)] == []
    text = [page.extract_text() for page in reader.pages]
    whole = "\n".join(text)
    # A listing may write TeX in a string of Python, where each backslash is doubled.
    assert not re.search(r"(?<!\\)\\(?:\(|\[|frac)|Click to show|:::\{", whole)
    assert sum(not page.strip() for page in text) == 0
    names = [volume.leaf_name(html(p)) for p, _ in pages() if p.stem != "genindex"]
    begins = list(pdf.page_numbers(pdf.PDF, names).values())
    contents = "\n".join(text[1 : begins[0] - 1])
    numbers = [int(number) for number in re.findall(r"(?<=\D)\d+$", contents, re.M)]
    assert [number for number in numbers if number >= begins[0]] == begins
    links = sum(len(page.get("/Annots") or []) for page in reader.pages)
    assert links > 500


@as_epub
def test_epub_is_whole_and_needs_nothing_from_outside():
    with zipfile.ZipFile(epub.EPUB) as book:
        names = book.namelist()
        first = book.infolist()[0]
        assert first.filename == "mimetype" and first.compress_type == zipfile.ZIP_STORED
        assert book.read("mimetype") == b"application/epub+zip"
        package = ElementTree.fromstring(book.read("EPUB/package.opf"))
        listed = {item.get("href") for item in package.iter(f"{OPF}item")}
        assert {f"EPUB/{name}" for name in listed} | {
            "mimetype", "META-INF/container.xml", "EPUB/package.opf"
        } == set(names)  # fmt: skip
        assert package.find(f".//{DC}title").text == volume.settings()["title"]
        texts = {
            name: ElementTree.fromstring(book.read(f"EPUB/{name}"))
            for name in listed
            if name.endswith(".xhtml")
        }
    ids = {name: {tag.get("id") for tag in root.iter()} for name, root in texts.items()}
    bound = [path for path, _ in pages() if path.stem != "genindex"]
    assert len(texts) == len(bound) + 1
    for name, root in texts.items():
        assert not list(root.iter(f"{XHTML}script"))
        assert not re.search(r"\\\(|\\\[", "".join(root.itertext())), name
        for link in root.iter(f"{XHTML}a"):
            file, _, fragment = link.get("href", "").partition("#")
            if re.match(r"\w+:", file):
                continue
            assert (file or name) in texts, (name, link.get("href"))
            assert not fragment or fragment in ids[file or name], (name, link.get("href"))
        for image in root.iter(f"{XHTML}img"):
            assert image.get("src") in listed and image.get("alt"), name


def pinned(file):
    lines = (line.split("#")[0].strip() for line in file.read_text(encoding="utf-8").splitlines())
    return {line for line in lines if "==" in line}


def test_binder_has_the_versions_that_the_book_is_verified_with(tmp_path):
    own = pinned(ROOT / ".binder" / "requirements.txt")
    assert own and own <= pinned(ROOT / "requirements.txt")
    needed = {re.split(r"[<>=]", line)[0] for line in own}
    assert {"torch", "numpy", "matplotlib", "joblib", "safetensors", "ipywidgets"} <= needed
    assert (ROOT / ".binder" / "runtime.txt").read_text(encoding="utf-8") == "python-3.11\n"
    colab.main(tmp_path / "edition")
    written = (tmp_path / "edition" / ".binder" / "requirements.txt").read_text(encoding="utf-8")
    assert written.splitlines()[-1] == colab.requirement()


def make_targets():
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    return set(re.findall(r"^([a-z]+):", text, re.M))


def test_container_is_set_up_by_make():
    container = json.loads((ROOT / ".devcontainer" / "devcontainer.json").read_text("utf-8"))
    assert ":3.11" in container["image"]
    called = re.findall(r"make (\w+)", container["postCreateCommand"])
    assert called and set(called) <= make_targets()


@pytest.mark.parametrize("name", ["publish", "test"])
def test_workflow_calls_what_there_is(name):
    file = ROOT / ".github" / "workflows" / f"{name}.yml"
    workflow = yaml.safe_load(file.read_text(encoding="utf-8"))
    steps = [step for job in workflow["jobs"].values() for step in job["steps"]]
    assert all(("run" in step) != ("uses" in step) for step in steps)
    commands = "\n".join(step.get("run", "") for step in steps)
    assert set(re.findall(r"^make (\w+)", commands, re.M)) <= make_targets()
    for path in re.findall(r"\b(?:tests|book)/[\w./]+\.py\b", commands):
        assert (ROOT / path).is_file()
    if name == "publish":
        order = [commands.index(f"make {what}") for what in ("test", "pdf", "epub", "colab")]
        assert order == sorted(order)
        published = next(s for s in steps if "upload-pages-artifact" in s.get("uses", ""))
        assert PurePosixPath(published["with"]["path"]) == PurePosixPath("_build/html")
