"""An environment as a reader's: what Colab has, `mdm_lab` from a wheel, and nothing of the book's.

The packages are not installed again: the new environment links to those of the running one that
are on the list, with everything that these need in turn. So it is there in seconds, without a
network and with the same versions, and whatever is not on the list cannot be imported.
"""

import json
import os
import shutil
import subprocess
import sys
import venv
from importlib.metadata import distribution
from pathlib import Path

from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from tree import ROOT, SETTINGS

# Colab publishes what its machines have (https://github.com/googlecolab/backend-info): hundreds of
# packages, of which the chapters may use these.  What mdm_lab asks for besides, pip brings.
COLAB_HAS = ("torch", "numpy", "matplotlib", "ipywidgets", "ipykernel", "pip", "setuptools")
PACKAGED = ("mdm_lab", "book/results", "pyproject.toml", "setup.py", "README.md", "LICENSE")


def wanted(names) -> dict[str, object]:
    """The distributions `names` with all that they need in turn, by canonical name."""
    found, queue = {}, [Requirement(name) for name in names]
    while queue:
        requirement = queue.pop()
        name = canonicalize_name(requirement.name)
        if name in found:
            continue
        found[name] = distribution(name)
        for line in found[name].requires or []:
            needed = Requirement(line)
            if needed.marker is None or needed.marker.evaluate({"extra": ""}):
                queue.append(needed)
    return found


def link(distributions, site: Path) -> None:
    """Make the modules and metadata of `distributions` importable from the folder `site`."""
    for found in distributions:
        if found.files is None:
            raise FileNotFoundError(f"{found.name} has no list of its files; install it with pip")
        for name in {file.parts[0] for file in found.files} - {"..", "__pycache__"}:
            if not (site / name).exists():
                (site / name).symlink_to(found.locate_file(name))


def copy_package(target: Path) -> None:
    """Copy what the package is built from to the folder `target`: building leaves files behind."""
    for name in PACKAGED:
        source, place = ROOT / name, target / name
        place.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, place, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copyfile(source, place)


def build_wheel(folder: Path) -> Path:
    """A wheel of this checkout in `folder`."""
    copy_package(folder / "source")
    options = ["--no-deps", "--no-build-isolation", "--quiet", "--wheel-dir", str(folder)]
    command = [sys.executable, "-m", "pip", "wheel", *options, str(folder / "source")]
    subprocess.run(command, check=True)
    return next(folder.glob("*.whl"))


def own_requirements() -> list[str]:
    """What the installed mdm_lab asks pip for."""
    needed = [Requirement(line) for line in distribution("mdm-lab").requires]
    return [r.name for r in needed if r.marker is None or r.marker.evaluate({"extra": ""})]


class Environment:
    """A virtual environment in the folder `root`, without mdm_lab until it is installed."""

    def __init__(self, root: Path):
        self.root = root
        self.python = root / "bin" / "python"
        venv.create(root, with_pip=False, symlinks=True)
        site = root / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}" / "site-packages"
        link(wanted([*COLAB_HAS, *own_requirements()]).values(), site)

    def variables(self, **more: str) -> dict[str, str]:
        """The variables of a process in it: nothing leads back to the running environment."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "PYTEST"))}
        path = os.pathsep.join([str(self.root / "bin"), os.environ["PATH"]])
        own = {"PATH": path, "IPYTHONDIR": str(self.root / "ipython"), "PYTHONNOUSERSITE": "1"}
        return {**kept, **own, "VIRTUAL_ENV": str(self.root), **SETTINGS, **more}

    def run(self, *arguments: str, **more: str) -> str:
        """What `python` with `arguments` prints there."""
        run = subprocess.run(
            [self.python, *arguments],
            cwd=self.root,
            env=self.variables(**more),
            capture_output=True,
            text=True,
        )
        if run.returncode:
            raise RuntimeError(f"python {' '.join(arguments)} failed:\n{run.stdout}{run.stderr}")
        return run.stdout

    def execute(self, notebook, folder: Path, **more: str) -> None:
        """Run `notebook` there from top to bottom, in `folder`; an error in a cell is raised."""
        specs = self.root / "kernels"
        argv = [str(self.python), "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        spec = {"argv": argv, "display_name": "Clean", "language": "python"}
        (specs / "clean").mkdir(parents=True, exist_ok=True)
        (specs / "clean" / "kernel.json").write_text(json.dumps(spec), encoding="utf-8")
        manager = AsyncKernelManager(
            kernel_name="clean", kernel_spec_manager=KernelSpecManager(kernel_dirs=[str(specs)])
        )
        client = NotebookClient(
            notebook,
            km=manager,
            timeout=600,
            shutdown_kernel="immediate",
            resources={"metadata": {"path": str(folder)}},
        )
        # A manager that is handed over is put away, with its sockets, only when asked.
        client.execute(cleanup_kc=True, env=self.variables(**more))
