"""Sphinx extension: docstrings are plain text, with `code` between backticks, and shown as such.

Indented lines and lines that are set in columns keep their form; everything else is flowing text.
The label of a theorem or an equation becomes a link to it.
"""

import re

COLUMNS = re.compile(r"\S {2,}\S")
CODE = re.compile(r"(?<!`)`([^`]+)`(?!`)")
SPECIAL = re.compile(r"([\\|]|(?<=\w)_(?!\w)|(?<!\S)_|\*)")
EMPHASIS = re.compile(r"(?<![\w\\*])\\\*(\w[^*\n]*?)\\\*(?![\w*])")
LABEL = re.compile(r"(?<![\w-])(?:(eq)|def|thm|prop|lem|cor)-[a-z0-9]+(?:-[a-z0-9]+)*")


def flowing(text):
    """Plain text as reStructuredText: `code`, *emphasis*, labels, nothing else is special."""
    pieces = CODE.split(text)
    pieces[::2] = [EMPHASIS.sub(r"*\1*", SPECIAL.sub(r"\\\1", piece)) for piece in pieces[::2]]
    pieces[::2] = [LABEL.sub(linked, piece) for piece in pieces[::2]]
    for i in range(1, len(pieces), 2):
        after = pieces[i + 1][:1]
        pieces[i] = f"``{pieces[i]}``" + ("\\ " if after.isalnum() else "")
    return "".join(pieces)


def linked(label):
    return f":{'eq' if label[1] else 'prf:ref'}:`{label[0]}`"


def convert(lines):
    """The lines of a docstring as lines of reStructuredText."""
    found, paragraph = [], []
    for line in [*lines, ""]:
        if line.strip():
            paragraph.append(line)
        elif paragraph:
            found += _paragraph(paragraph)
            paragraph = []
    return found


def _paragraph(lines):
    found, text = [], []
    keep = []
    for line in lines:
        if keep or line.startswith(" ") or COLUMNS.search(line):
            keep.append(line)
        else:
            text.append(line)
    if text:
        found += [*flowing("\n".join(text)).split("\n"), ""]
    if keep:
        found += ["::", "", *(f"    {line}" for line in keep), ""]
    return found


def process(app, what, name, obj, options, lines):
    lines[:] = convert(lines)


def setup(app):
    app.connect("autodoc-process-docstring", process)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
