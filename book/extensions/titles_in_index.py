"""Sphinx extension: the index of the book has the title of each definition and theorem.

Terms of the glossary and names of the module are in it anyway.
"""

from docutils import nodes
from sphinx import addnodes
from sphinx.transforms import SphinxTransform


class TitlesInIndex(SphinxTransform):
    """Put an entry for the index before each titled box."""

    default_priority = 800  # before Sphinx collects the entries of a page, at 850

    def apply(self):
        for box in list(self.document.findall(nodes.Admonition)):
            label, title = box.get("label"), box.next_node(nodes.title)
            if "exercise" in box["classes"]:
                continue
            if not label or title is None or any(title.findall(nodes.math)):
                continue
            words = title.astext().strip().replace(";", ",")
            if words.startswith("(") and words.endswith(")"):
                words = words[1:-1]
            if words:
                entry = ("single", words[0].upper() + words[1:], label, "", None)
                box.parent.insert(box.parent.index(box), addnodes.index(entries=[entry]))


def setup(app):
    app.add_transform(TitlesInIndex)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
