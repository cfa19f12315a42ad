"""Results: JSON files that carry their provenance and are never half lost.

A result holds `parts`, each the outcome of one piece of work, written as soon as it is finished.
A run that was interrupted takes up the parts that the same code has made. Beside them stands the
provenance: a digest of the code that made them, versions, device, seconds.
"""

import ast
import functools
import hashlib
import json
import os
import platform
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path

import mdm_lab

PACKAGE = Path(mdm_lab.__file__).parent
FOLDER = PACKAGE.parent / "book" / "results"
# What has no say in what a part holds: these run the parts, keep them and choose their size, which
# is in the settings of a result. Nor have the last two, for experiments that read trained networks,
# since such a result names the digests of their files. Whether today's code would train the same
# networks is not a matter of its text: a test repeats the beginning of the runs.
PLUMBING = (
    "mdm_lab.experiments",
    *(f"mdm_lab.experiments.{name}" for name in ("results", "runner", "tiers", "trained_models")),
    "mdm_lab.training",
)


def load(name, tier="cpu"):
    """The committed result {"parts", "provenance"} of an experiment at a tier.

    Raises FileNotFoundError with the command that makes it.
    """
    where = _file(FOLDER if FOLDER.is_dir() else files("mdm_lab") / "results", name, tier)
    if not where.is_file():
        raise FileNotFoundError(
            f"no result {where.name}: make it with "
            f"python -m mdm_lab.experiments {name} --tier {tier}"
        )
    return json.loads(where.read_text())


def is_current(result, name):
    """Whether the code that the experiment runs is the code that made the result."""
    return result["provenance"]["code"] == experiment_digest(name)


def experiment_digest(name):
    """The digest of the code that an experiment runs."""
    return code_digest(f"mdm_lab.experiments.{name.replace('-', '_')}")


def code_digest(module):
    """A digest of the code of `module` and of all of mdm_lab that it imports.

    Of the syntax trees, so that comments, docstrings and layout do not count; nor does the number
    of a release.
    """
    seen, todo = {}, [module]
    while todo:
        name = todo.pop()
        path = _source(name)
        if path is None or name in seen or name in PLUMBING:
            continue
        seen[name], imports = _syntax(path.read_text())
        todo += imports
    text = json.dumps(sorted(seen.items()))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def environment():
    """Versions of the software and the devices of this machine, which a run may use."""
    import torch

    cuda = torch.cuda.is_available()
    return {
        "versions": {
            "mdm_lab": mdm_lab.__version__,
            "python": platform.python_version(),
            **{package: version(package) for package in ("numpy", "torch")},
        },
        "device": f"cuda: {torch.cuda.get_device_name()}" if cuda else "cpu",
        "processor": _processor(),
        "cpu_count": os.cpu_count(),
        "machine": platform.machine(),
    }


def is_writer():
    """Whether this process writes results: under torchrun rank 0 alone does."""
    return int(os.environ.get("RANK", 0)) == 0


class Store:
    """The file of a run in progress: parts are added one by one, each write is atomic.

    Under torchrun each rank has its own, made from the same file on a disk that they share, so
    that all know the same parts as finished; that of rank 0 writes.
    """

    def __init__(self, folder, name, tier, settings):
        self.path = _file(Path(folder), name, tier)
        self.provenance = {
            "experiment": name,
            "tier": tier,
            "code": experiment_digest(name),
            "settings": settings,
            **environment(),
        }
        self.parts = self._unfinished()

    def _unfinished(self):
        """Parts of an earlier run of the same code with the same settings."""
        if not self.path.is_file():
            return {}
        old = json.loads(self.path.read_text())
        settings = json.loads(json.dumps(self.provenance["settings"]))
        same = (old["provenance"]["code"], old["provenance"]["settings"]) == (
            self.provenance["code"],
            settings,
        )
        return old["parts"] if same else {}

    @property
    def seconds(self):
        """Seconds of work in all parts together, one core each."""
        return round(sum(part["seconds"] for part in self.parts.values()), 1)

    def add(self, key, part):
        """Keep a finished part."""
        self.parts[key] = part
        self.write()

    def write(self):
        """Write everything so far; a reader never sees half a file."""
        if not is_writer():
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        content = {
            "provenance": {**self.provenance, "seconds_of_work": self.seconds},
            "parts": dict(sorted(self.parts.items())),
        }
        beside = self.path.with_suffix(".partial")
        beside.write_text(json.dumps(content, indent=1) + "\n")
        os.replace(beside, self.path)


def _file(folder, name, tier):
    return folder / f"{name}.{tier}.json"


def _processor():
    """The processor's name, where the system tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _source(module):
    """The file of a module of mdm_lab, None for anything else (a function of a module, say)."""
    path = PACKAGE.parent.joinpath(*module.split("."))
    for candidate in (path.with_suffix(".py"), path / "__init__.py"):
        if candidate.is_file():
            return candidate
    return None


@functools.cache
def _syntax(source):
    """(canonical tree, what it may import of mdm_lab) of the text of a module."""
    tree, imports = ast.parse(source), []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("mdm_lab"):
            imports += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Import):
            imports += [alias.name for alias in node.names if alias.name.startswith("mdm_lab")]
    return _canonical(tree), imports


def _canonical(node):
    """A syntax tree as nested lists, the same on all versions of Python."""
    if isinstance(node, list):
        return [_canonical(item) for item in node]
    if not isinstance(node, ast.AST):
        return repr(node)
    fields = dict(ast.iter_fields(node))
    body = fields.get("body")
    if isinstance(body, list):
        documented = bool(body) and _is_docstring(body[0])
        fields["body"] = [item for item in body[documented:] if not _is_version(item)]
    kept = {k: v for k, v in fields.items() if v not in (None, []) and k not in ("ctx", "kind")}
    return [type(node).__name__, sorted((k, _canonical(v)) for k, v in kept.items())]


def _is_docstring(node):
    return isinstance(node, ast.Expr) and isinstance(getattr(node.value, "value", None), str)


def _is_version(node):
    return isinstance(node, ast.Assign) and ast.unparse(node.targets) == "__version__"
