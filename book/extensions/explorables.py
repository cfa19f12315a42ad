"""Sphinx extension: `:::{explorable} NAME` puts a figure of mdm_lab.widgets on a page."""

from docutils import nodes
from sphinx.util.docutils import SphinxDirective

from mdm_lab import widgets


class Explorable(SphinxDirective):
    """The figure that the named function of `mdm_lab.widgets` returns by default."""

    required_arguments = 1

    def run(self):
        name = self.arguments[0]
        try:
            figure = getattr(widgets, name)()
        except (AttributeError, TypeError):
            figure = None
        if not isinstance(figure, widgets.Explorable):
            raise self.error(f"mdm_lab.widgets has no figure {name!r} that needs no arguments")
        return [nodes.raw("", figure.html, format="html")]


def setup(app):
    app.add_directive("explorable", Explorable)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
