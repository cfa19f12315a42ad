"""Sphinx extension: the role {site}`words <path>` leads to a file of the published site.

For what stands there beside the pages, the PDF and the EPUB say, which no build of the pages makes:
the address is the site's own, `html_baseurl`.
"""


def set_address(app, config):
    """Let sphinx.ext.extlinks make the role."""
    config.extlinks["site"] = (f"{config.html_baseurl}%s", None)


def setup(app):
    app.setup_extension("sphinx.ext.extlinks")
    app.connect("config-inited", set_address)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
