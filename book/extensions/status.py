"""Sphinx extension: `:::{chapter-status}` and `:::{result-status}`, tables of what was run.

Their numbers are read from files that machines wrote: book/status.json, by book/tools/execute.py,
and the results below book/results, by `python -m mdm_lab.experiments`.
"""

import json
from pathlib import Path

from docutils import nodes
from sphinx import addnodes
from sphinx.util.docutils import SphinxDirective

from mdm_lab.experiments.results import is_current


def cell(content):
    paragraph = nodes.paragraph("", "")
    paragraph += content if isinstance(content, nodes.Node) else nodes.Text(str(content))
    return nodes.entry("", paragraph)


def table(head, rows):
    group = nodes.tgroup(cols=len(head))
    group += [nodes.colspec(colwidth=1) for _ in head]
    group += nodes.thead("", nodes.row("", *map(cell, head)))
    group += nodes.tbody("", *(nodes.row("", *map(cell, row)) for row in rows))
    return nodes.table("", group)


def versions(run):
    return ", ".join(f"{name} {number}" for name, number in run["versions"].items())


def machine(run):
    return f"{run['device']}, {run['cpu_count']} cores, {run['machine']}"


class ChapterStatus(SphinxDirective):
    """When each chapter was last run from top to bottom, how long that took, and with what."""

    def run(self):
        source = Path(self.env.srcdir) / "book" / "status.json"
        self.env.note_dependency(str(source))
        known = json.loads(source.read_text(encoding="utf-8"))
        rows, groups = [], {}
        self.env.note_dependency(str(Path(self.env.srcdir) / "_toc.yml"))
        for page in self.env.external_site_map:  # in the order of the book
            if page not in self.env.found_docs or not self.env.doc2path(page).endswith(".ipynb"):
                continue
            link = addnodes.pending_xref(
                "", nodes.inline("", page), refdomain="std", reftype="doc", reftarget=f"/{page}",
                refexplicit=False, refwarn=True, refdoc=self.env.docname,
            )  # fmt: skip
            run = known.get(f"{page}.ipynb")
            if run is None:
                rows.append((link, "not recorded", "", ""))
                continue
            rows.append((link, f"{run['seconds']:.1f}", run["date"], run["tier"]))
            groups.setdefault(f"{versions(run)} ({machine(run)})", []).append(page)
        used = nodes.bullet_list()
        for what, pages in groups.items():
            said = f"{what}: {len(pages)} of {len(rows)} chapters"
            used += nodes.list_item("", nodes.paragraph("", said))
        return [table(("Chapter", "Seconds", "Last verified", "Tier"), rows), used]


class ResultStatus(SphinxDirective):
    """Which committed results there are, where they came from, and whether they are current."""

    def run(self):
        rows = []
        for path in sorted((Path(self.env.srcdir) / "book" / "results").glob("*.json")):
            self.env.note_dependency(str(path))
            result = json.loads(path.read_text(encoding="utf-8"))
            made = result["provenance"]
            current = "yes" if is_current(result, made["experiment"]) else "no: made by other code"
            row = (made["experiment"], made["tier"], made["seconds_of_work"])
            rows.append((*row, versions(made), machine(made), current))
        return [table(("Result", "Tier", "Seconds", "Versions", "Machine", "Current"), rows)]


def setup(app):
    app.add_directive("chapter-status", ChapterStatus)
    app.add_directive("result-status", ResultStatus)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
