"""Run chapters from top to bottom and save their outputs in place.

    python book/tools/execute.py [NOTEBOOK ...]      (default: every chapter in _toc.yml)

The result is what `make test` compares with a fresh run: counts 1..n, no time stamps, no versions
of one machine.  How long a chapter took, when, and with which versions stands in book/status.json,
which the site's status page shows.
"""

import hashlib
import json
import os
import re
import sys
import time
from datetime import date
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from policy import CELL_METADATA, complaints
from tree import ROOT, chapters, environment

STATUS = ROOT / "book" / "status.json"


def normalise(notebook) -> None:
    """Bring what differs between editors and machines into one form; ids that exist are kept."""
    notebook.nbformat, notebook.nbformat_minor = 4, max(5, notebook.nbformat_minor)
    notebook.metadata = nbformat.from_dict(
        {
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
        }
    )
    taken = set()
    for index, cell in enumerate(notebook.cells):
        if not cell.get("id") or cell.id in taken:
            cell.id = _new_id(cell, index, taken)
        taken.add(cell.id)
        cell.metadata = nbformat.from_dict(
            {k: v for k, v in cell.metadata.items() if k in CELL_METADATA and v}
        )


def _new_id(cell, index: int, taken: set) -> str:
    words = re.findall(r"[a-z0-9]+", cell.source.lower())[:3]
    name = "-".join([cell.cell_type[:4], *words])[:48]
    return name if name not in taken else f"{name}-{index}"


def execute(path: Path) -> None:
    """Run the notebook at `path` in its own folder and write its outputs into it."""
    notebook = nbformat.read(path, as_version=4)
    normalise(notebook)
    client = NotebookClient(
        notebook,
        kernel_name="python3",
        timeout=600,
        record_timing=False,
        coalesce_streams=True,
        resources={"metadata": {"path": str(path.parent)}},
    )
    client.execute(env=environment())
    normalise(notebook)
    nbformat.write(notebook, path)


def code_digest(path: Path) -> str:
    """A digest of a notebook's code cells: what a run of it ran."""
    cells = nbformat.read(path, as_version=4).cells
    code = "\0".join(cell.source for cell in cells if cell.cell_type == "code")
    return hashlib.sha256(code.encode()).hexdigest()[:16]


def record(path: Path, seconds: float) -> None:
    """Note in book/status.json that a chapter was run from top to bottom just now."""
    from mdm_lab.experiments.results import environment as machine

    run = {
        "date": date.today().isoformat(),
        "seconds": round(seconds, 1),
        "tier": environment()["MDM_TIER"],
        "code": code_digest(path),
        **machine(),
    }
    known = json.loads(STATUS.read_text(encoding="utf-8")) if STATUS.exists() else {}
    known[path.relative_to(ROOT).as_posix()] = run
    written = {p.relative_to(ROOT).as_posix() for p in chapters()}
    kept = {name: known[name] for name in sorted(known.keys() & written)}
    half = STATUS.with_suffix(".json.part")
    half.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
    half.replace(STATUS)


def main(names: list[str]) -> int:
    found = []
    for path in [Path(name).resolve() for name in names] or chapters():
        start = time.perf_counter()
        execute(path)
        seconds = time.perf_counter() - start
        if path in chapters():
            record(path, seconds)
        shown = os.path.relpath(path, ROOT)
        found += [f"{shown}: {line}" for line in complaints(path)]
        print(f"{shown}: {seconds:.1f} s")
    print("\n".join(found))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
