"""Make the Colab edition of the chapters: `make colab` writes it, the publish workflow pushes it.

Colab knows neither the book's directives and roles nor this repository.  The edition therefore
begins each chapter with a cell that installs `mdm_lab` where it is missing, and says in plain
Markdown what a directive or role says on the site, with the same numbers.  What it does not know
it refuses: nothing raw reaches a reader.  Where an exercise has its solution the edition has an
empty cell and a link to the site.

The student form, which each page of the site offers for download, is the same without outputs.
"""

import ast
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path

import nbformat
from clean import PACKAGED
from pybtex.database import parse_file
from pybtex.plugin import find_plugin
from tree import BUILD, COLAB, ROOT, address, config, pages

import mdm_lab

STUDENTS = BUILD / "students"
FENCE = re.compile(r"^\s*(:{3,})\{([\w:-]+)\}\s*(.*?)\s*$")
OPTION = re.compile(r"^\s*:([\w-]+):\s*(.*?)\s*$")
TARGET = re.compile(r"^\(([\w-]+)\)=\s*$")
HEADING = re.compile(r"^(#+) +(.*?)\s*$")
MATHS = re.compile(r"^[ ]*\$\$(.*?)\$\$(?:[ ]*\(([\w-]+)\))?[ ]*$", re.M | re.S)
ROLE = re.compile(r"\{([\w:]+)\}`([^`]+)`")
WITH_TEXT = re.compile(r"^(.*?)\s*<([^<>]+)>$", re.S)
IMAGE = re.compile(r"(!\[[^\]]*\])\((?!https?:)([^)\s]+)\)")

# One row of numbers for all of these, as in _config.yml (prf_realtyp_to_countertyp).
THEOREMS = {
    *("axiom", "conjecture", "corollary", "definition", "example", "lemma"),
    *("observation", "property", "proposition", "remark", "theorem"),
}
BOXES = {"note", "tip", "hint", "important", "warning", "caution", "seealso"}
GLUE_IMPORT = "from myst_nb import glue"
GLUE_HERE = '''
def glue(name, value, display=True):
    """On the site this hands a value to the text; here the text has it already."""
'''.strip()
INSTALL = """
# The book's module, where it is missing. What is here already, torch and numpy above all, stays.
import importlib.util

if importlib.util.find_spec("mdm_lab") is None:
    %pip install --quiet "{requirement}"
""".strip()
YOUR_CODE = "# Your code"


@dataclass
class Block:
    """A directive with what it holds: lines of Markdown and further blocks."""

    name: str
    title: str = ""
    options: dict[str, str] = field(default_factory=dict)
    content: list["str | Block"] = field(default_factory=list)


@dataclass(frozen=True)
class Label:
    """What a reference to a label reads as, and the page it stands on."""

    text: str
    page: Path


@dataclass
class Chapter:
    """A page in the making.

    path      its file
    labels    the labels of the whole book
    values    what its cells glue
    on_site   whether links to other chapters lead to the site rather than to Colab
    cited     the works cited so far
    exercise  the label of the exercise that was last met
    """

    path: Path
    labels: dict[str, Label]
    values: dict[str, str] = field(default_factory=dict)
    on_site: bool = False
    cited: list[str] = field(default_factory=list)
    exercise: str = ""


def parse(markdown: str) -> Block:
    """Markdown as a tree of blocks; code between backticks is left alone."""
    stack, ends, code = [Block("")], [], None
    fresh = False
    for line in markdown.splitlines():
        ticks = re.match(r"^\s*(`{3,}|~{3,})", line)
        if code or ticks:
            code = None if code and ticks and ticks[1].startswith(code) else code or ticks[1]
            stack[-1].content.append(line)
            fresh = False
        elif match := FENCE.match(line):
            block = Block(match[2], match[3])
            stack[-1].content.append(block)
            stack.append(block)
            ends.append(match[1])
            fresh = True
        elif ends and line.strip() == ends[-1]:
            stack.pop()
            ends.pop()
            fresh = False
        elif fresh and (option := OPTION.match(line)):
            stack[-1].options[option[1]] = option[2]
        else:
            fresh = False
            stack[-1].content.append(line)
    if ends:
        raise ValueError(f"the directive {stack[-1].name} {stack[-1].title!r} is not closed")
    return stack[0]


def collect_labels(found: list[tuple[Path, int | None]]) -> dict[str, Label]:
    """The labels of all pages, numbered as the site numbers them."""
    labels = {}
    for path, number in found:
        counts: dict[str, int] = {}
        for kind, source, cell in _sources(path):
            if kind == "code":
                figure = cell.metadata.get("mystnb", {}).get("figure", {})
                if figure.get("caption"):
                    text = f"Fig. {_next(counts, 'figure', number)}"
                    labels[figure.get("name", "")] = Label(text, path)
            else:
                _label_block(parse(source), path, number, counts, labels)
    labels.pop("", None)
    return labels


def _sources(path: Path):
    if path.suffix == ".ipynb":
        for cell in nbformat.read(path, as_version=4).cells:
            yield cell.cell_type, cell.source, cell
    else:
        yield "markdown", path.read_text(encoding="utf-8"), None


def _next(counts: dict[str, int], kind: str, number: int | None) -> str:
    counts[kind] = counts.get(kind, 0) + 1
    return f"{number}.{counts[kind]}" if number else str(counts[kind])


def _label_block(block: Block, path: Path, number: int | None, counts: dict, labels: dict) -> None:
    text, target = [], None
    for part in [*block.content, None]:  # None: the end, where the text so far is read
        if isinstance(part, str):
            if match := TARGET.match(part):
                target = match[1]
            elif target and (heading := HEADING.match(part)):
                labels[target], target = Label(heading[2], path), None
            text.append(part)
            continue
        for match in MATHS.finditer("\n".join(text)):
            if match[2]:
                labels[match[2]] = Label(f"({_next(counts, 'equation', number)})", path)
        text = []
        if part is None:
            continue
        kind = part.name.removeprefix("prf:")
        name = part.options.get("label") or part.options.get("name", "")
        if kind == "math" and name:
            labels[name] = Label(f"({_next(counts, 'equation', number)})", path)
        elif part.name.startswith("prf:") or kind == "exercise":
            row = "theorem" if kind in THEOREMS else kind
            labels[name] = Label(f"{kind.capitalize()} {_next(counts, row, number)}", path)
        elif kind == "figure":
            labels[name] = Label(f"Fig. {_next(counts, 'figure', number)}", path)
        _label_block(part, path, number, counts, labels)


def plain_markdown(markdown: str, chapter: Chapter) -> str:
    """Markdown of the book as Markdown that every notebook program shows."""
    return re.sub(r"\n{3,}", "\n\n", _render(parse(markdown), chapter)).strip()


def _render(block: Block, chapter: Chapter) -> str:
    parts, text = [], []
    for part in [*block.content, None]:
        if isinstance(part, str):
            text.append(part)
            continue
        parts.append(_text("\n".join(line for line in text if not TARGET.match(line)), chapter))
        text = []
        if part is not None:
            parts.append(f"\n{_directive(part, chapter)}\n")
    return "\n".join(parts)


def _directive(block: Block, chapter: Chapter) -> str:
    kind, title = block.name.removeprefix("prf:"), _text(block.title, chapter)
    label = chapter.labels.get(block.options.get("label") or block.options.get("name", ""))
    if kind == "math":
        tag = f"\\tag{{{label.text.strip('()')}}}" if label else ""
        return "\n".join(["$$", *block.content, *([tag] if tag else []), "$$"])
    if kind == "exercise":
        chapter.exercise = block.options.get("label", "")
    if kind == "solution" or (kind == "dropdown" and title.startswith("Solution")):
        return _solution(chapter)
    body = _render(block, chapter).strip()
    if block.name.startswith("prf:") or kind == "exercise":
        name = label.text if label else kind.capitalize()
        return f"**{name}{f' ({title})' if title else ''}**\n\n{body}"
    if kind == "dropdown":
        return f"<details>\n<summary>{_without_maths(title)}</summary>\n\n{body}\n\n</details>"
    if kind == "figure":
        alt = block.options.get("alt", "")
        caption = f"\n\n*{label.text if label else 'Fig.'}* {body}" if body else ""
        return f"![{alt}]({_raw_address(title, chapter)}){caption}"
    if kind in BOXES or kind == "admonition":
        name = (
            title if kind == "admonition" else {"seealso": "See also"}.get(kind, kind.capitalize())
        )
        first = f"{title}\n\n" if kind != "admonition" and title else ""
        return f"**{name}**\n\n{first}{body}"
    raise ValueError(f"{chapter.path}: the Colab edition does not know the directive {block.name}")


def _solution(chapter: Chapter) -> str:
    place = f"{site_address(chapter.path)}#{chapter.exercise}"
    return f"*The solution is [on the book's page]({place}).*"


def _without_maths(title: str) -> str:
    return re.sub(r"\$([^$]*)\$", r"\1", title)


def _text(text: str, chapter: Chapter) -> str:
    """Text outside directives: equation labels, roles and images, but not code blocks."""
    pieces = re.split(r"^(\s*(`{3,}|~{3,})[\s\S]*?^\s*\2[`~]*\s*$)", text, flags=re.M)
    for i in range(0, len(pieces), 3):
        plain = MATHS.sub(partial(_tagged, chapter=chapter), pieces[i])
        plain = ROLE.sub(partial(_role, chapter=chapter), plain)
        pieces[i] = IMAGE.sub(lambda m: f"{m[1]}({_raw_address(m[2], chapter)})", plain)
    return "".join(piece for i, piece in enumerate(pieces) if i % 3 != 2)


def _tagged(match: re.Match, chapter: Chapter) -> str:
    if not match[2]:
        return match[0]
    return f"$${match[1].rstrip()}\n\\tag{{{chapter.labels[match[2]].text.strip('()')}}}\n$$"


def _role(match: re.Match, chapter: Chapter) -> str:
    role, content = match[1], match[2]
    words = WITH_TEXT.match(content)
    target = words[2] if words else content
    if role in ("prf:ref", "ref", "eq", "numref"):
        if target not in chapter.labels:
            raise ValueError(f"{chapter.path}: no label {target!r} in the book")
        label = chapter.labels[target]
        return _linked(
            words[1] if words and "%s" not in words[1] else label.text, label.page, chapter
        )
    if role == "doc":
        start = ROOT if target.startswith("/") else chapter.path.parent
        stem = Path(os.path.normpath(start / target.lstrip("/")))
        page = next(path for path, _ in pages() if path.with_suffix("") == stem)
        return _linked(words[1] if words else _title(page), page, chapter)
    if role == "term":
        return words[1] if words else content
    if role in ("cite", "cite:p", "cite:t"):
        return _citation(role, content, chapter)
    if role == "glue:text":
        return _glued(content, chapter)
    if role.startswith("py:"):
        return (
            f"`{content.removeprefix('~').split('.')[-1] if content.startswith('~') else content}`"
        )
    if role == "math":
        return f"${content}$"
    raise ValueError(f"{chapter.path}: the Colab edition does not know the role {role}")


def _linked(text: str, page: Path, chapter: Chapter) -> str:
    if page == chapter.path:
        return text
    on_site = chapter.on_site or page.suffix != ".ipynb"
    return f"[{text}]({site_address(page) if on_site else colab_address(page)})"


def _title(page: Path) -> str:
    return next(
        m[2]
        for _, source, _ in _sources(page)
        for m in map(HEADING.match, source.splitlines())
        if m
    )


def _glued(content: str, chapter: Chapter) -> str:
    name, _, form = content.partition(":")
    if name not in chapter.values:
        raise ValueError(f"{chapter.path}: no saved output glues {name!r}; run the notebook")
    value = ast.literal_eval(chapter.values[name])
    return format(value, form) if form else str(value)


@cache
def bibliography():
    """The works of book/references.bib."""
    return parse_file(str(ROOT / "book" / "references.bib"), bib_format="bibtex")


def _citation(role: str, content: str, chapter: Chapter) -> str:
    entries, cited = bibliography().entries, []
    for key in (key.strip() for key in content.split(",")):
        if key not in entries:
            raise ValueError(f"{chapter.path}: {key!r} is not in book/references.bib")
        if key not in chapter.cited:
            chapter.cited.append(key)
        people = entries[key].persons.get("author") or entries[key].persons.get("editor", [])
        names = [re.sub(r"[{}]", "", " ".join([*p.prelast_names, *p.last_names])) for p in people]
        who = f"{names[0]} et al." if len(names) > 2 else " and ".join(names)
        year = entries[key].fields.get("year", "")
        cited.append(f"{who} ({year})" if role == "cite:t" else f"{who}, {year}")
    return "; ".join(cited) if role == "cite:t" else f"({'; '.join(cited)})"


def _references(chapter: Chapter) -> str:
    style, backend = (
        find_plugin("pybtex.style.formatting", "plain")(),
        find_plugin("pybtex.backends", "plaintext")(),
    )
    works = style.format_bibliography(bibliography(), chapter.cited)
    return "\n".join(["## References", "", *(f"- {work.text.render(backend)}" for work in works)])


@cache
def _settings() -> dict:
    return config()


def _repository() -> str:
    return _settings()["repository"]["url"].removeprefix("https://github.com/").removesuffix("/")


def colab_address(page: Path) -> str:
    """Where Colab opens the edition's version of a chapter."""
    settings = _settings()
    branch, colab = settings["repository"]["branch"], settings["launch_buttons"]["colab_url"]
    return f"{colab}/github/{_repository()}/blob/{branch}/{page.relative_to(ROOT).as_posix()}"


def site_address(page: Path) -> str:
    """Where the site has a page: at `html.baseurl` of _config.yml, or where GitHub serves it."""
    owner, name = _repository().split("/")
    base = _settings()["html"].get("baseurl") or f"https://{owner}.github.io/{name}"
    return f"{base.rstrip('/')}/{page.relative_to(ROOT).with_suffix('.html').as_posix()}"


def _raw_address(target: str, chapter: Chapter) -> str:
    path = (chapter.path.parent / target).resolve().relative_to(ROOT).as_posix()
    return f"https://raw.githubusercontent.com/{_repository()}/{_settings()['repository']['branch']}/{path}"


def installed_version() -> str:
    """What the edition installs: the release of this version, or `main` where they differ.

    They differ while the version has no tag, and when the module has changed since it got one.
    """
    tag = f"v{mdm_lab.__version__}"
    try:
        compared = subprocess.run(
            ["git", "diff", "--quiet", tag, "--", *PACKAGED], cwd=ROOT, capture_output=True
        )
    except OSError:
        return "main"
    return tag if compared.returncode == 0 else "main"


@cache
def requirement() -> str:
    """What pip is asked for where mdm_lab is missing."""
    return f"mdm-lab @ git+{address()}@{installed_version()}"


def is_solution(cell) -> bool:
    """Whether a code cell solves an exercise: the site folds it away under these words."""
    return cell.metadata.get("mystnb", {}).get("code_prompt_show") == "Show the solution"


def edition(path: Path, labels: dict[str, Label], student: bool = False):
    """The chapter at `path` as a notebook for Colab, or in student form."""
    notebook = nbformat.read(path, as_version=4)
    chapter = Chapter(path, labels, _glued_values(notebook), on_site=student)
    source = INSTALL.format(requirement=requirement())
    cells = [nbformat.v4.new_code_cell(source, id="install-mdm-lab")]
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.metadata, cell.source = {}, plain_markdown(cell.source, chapter)
            cells += [cell] if cell.source else []
        elif is_solution(cell):
            link = nbformat.v4.new_markdown_cell(_solution(chapter), id=f"{cell.id[:50]}-link")
            cells += [nbformat.v4.new_code_cell(YOUR_CODE, id=cell.id), link]
        else:
            cells += _code(cell, chapter, student)
    if chapter.cited:
        cells.append(
            nbformat.v4.new_markdown_cell(_references(chapter), id="references-cited-here")
        )
    notebook.cells = cells
    nbformat.validate(notebook)
    return notebook


def _code(cell, chapter: Chapter, student: bool) -> list:
    figure = cell.metadata.get("mystnb", {}).get("figure", {})
    hidden = {"hide-cell", "hide-input", "remove-cell", "remove-input"} & set(
        cell.metadata.get("tags", [])
    )
    cell.metadata = nbformat.from_dict({"cellView": "form"} if hidden else {})
    cell.source = cell.source.replace(GLUE_IMPORT, GLUE_HERE)
    cell.outputs = [o for o in cell.outputs if not student and not _is_glue(o)]
    if student:
        cell.execution_count = None
    if not figure.get("caption"):
        return [cell]
    number = f"*{chapter.labels[figure['name']].text}* " if "name" in figure else ""
    caption = number + _text(figure["caption"], chapter)
    return [cell, nbformat.v4.new_markdown_cell(caption, id=f"{cell.id[:50]}-caption")]


def _is_glue(output) -> bool:
    return bool(output.get("metadata", {}).get("scrapbook", {}).get("mime_prefix"))


def _glued_values(notebook) -> dict[str, str]:
    values = {}
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            if record := output.get("metadata", {}).get("scrapbook"):
                values[record["name"]] = output.data.get(record["mime_prefix"] + "text/plain", "''")
    return values


def write(target: Path, student: bool = False) -> None:
    """Write every chapter into the folder `target`, where it stands in the tree."""
    found = pages()
    labels = collect_labels(found)
    for path in (path for path, _ in found if path.suffix == ".ipynb"):
        written = target / path.relative_to(ROOT)
        written.parent.mkdir(parents=True, exist_ok=True)
        nbformat.write(edition(path, labels, student), written)


def main(target: Path | None = None, student: bool = False) -> None:
    """Write the Colab edition, or all student forms, with what the notebooks need beside them."""
    target = target or (STUDENTS if student else COLAB)
    shutil.rmtree(target, ignore_errors=True)
    if not student:  # what the edition's pictures lead to, and what Binder reads
        shutil.copytree(ROOT / "book" / "assets", target / "book" / "assets")
        shutil.copytree(ROOT / ".binder", target / ".binder")
        with open(target / ".binder" / "requirements.txt", "a", encoding="utf-8") as needed:
            needed.write(f"{requirement()}\n")
    write(target, student)
    for name in ("LICENSE", "LICENSE-TEXT"):
        shutil.copyfile(ROOT / name, target / name)
    what = "Student forms" if student else "Colab edition"
    print(f"{what} in {os.path.relpath(target)}, installing mdm_lab at {installed_version()}")


if __name__ == "__main__":
    main(student="--student" in sys.argv[1:])
