"""The Colab edition where it is read: only Colab's packages, an empty folder, mdm_lab installed.

What the environment has and how it comes to be is said in book/tools/clean.py.
"""

import subprocess

import clean
import colab
import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook
from tree import address, chapters, pages

LABELS = colab.collect_labels(pages())
NAMES = (
    "torch",
    "numpy",
    "mdm_lab",
    "scipy",
    "myst_nb",
    "sphinx",
    "nbclient",
    "pytest",
    "distributed",
)
WHAT_IS_THERE = f"""
import importlib.util
print([name for name in {NAMES} if importlib.util.find_spec(name)])
"""
VERSIONS = """
from importlib.metadata import distributions
print(sorted(f"{d.name}=={d.version}" for d in distributions()))
"""


@pytest.fixture(scope="session")
def without(tmp_path_factory):
    """An environment as Colab's, before the first cell."""
    return clean.Environment(tmp_path_factory.mktemp("without") / "env")


@pytest.fixture(scope="session")
def installed(tmp_path_factory):
    """The same with mdm_lab, from a wheel; pip finds all that it asks for already there."""
    folder = tmp_path_factory.mktemp("installed")
    environment = clean.Environment(folder / "env")
    before = environment.run("-c", VERSIONS)
    wheel = clean.build_wheel(folder)
    environment.run("-m", "pip", "install", "--no-index", "--quiet", str(wheel))
    own = f"'mdm-lab=={colab.mdm_lab.__version__}'"
    assert environment.run("-c", VERSIONS).replace(f"{own}, ", "") == before
    return environment


def test_environment_has_nothing_of_the_books(without):
    assert without.run("-c", WHAT_IS_THERE).strip() == "['torch', 'numpy']"


@pytest.mark.parametrize("path", chapters(), ids=[path.stem for path in chapters()])
def test_chapter_runs(installed, tmp_path, path):
    notebook = nbformat.from_dict(colab.edition(path, LABELS))
    installed.execute(notebook, tmp_path)  # an error in a cell is raised
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    assert code[0].outputs == []  # what is there is not installed again


def test_first_cell_installs_what_is_missing_and_nothing_else(without, tmp_path):
    """The cell as it stands; git is told that the repository's address is a folder here."""
    repository, tag = tmp_path / "repository", colab.installed_version()
    clean.copy_package(repository)
    identity = ["-c", "user.name=x", "-c", "user.email=x@example.org"]
    for command in (
        ["init", "--quiet", "--initial-branch=main"],
        ["add", "--all"],
        [*identity, "commit", "--quiet", "--message", "x"],
        *([["tag", tag]] if tag != "main" else []),
    ):
        subprocess.run(["git", *command], cwd=repository, check=True)
    redirected = {
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": f"url.{repository.as_uri()}.insteadOf",
        "GIT_CONFIG_VALUE_0": address(),
        "PIP_NO_BUILD_ISOLATION": "0",  # pip's way to say: do not fetch what builds the package
    }
    first = colab.edition(chapters()[0], LABELS).cells[0]
    cells = [
        new_code_cell(VERSIONS),
        new_code_cell(first.source),
        new_code_cell("import mdm_lab, mdm_lab.experiments\nprint(mdm_lab.__file__)"),
        new_code_cell("print(*mdm_lab.experiments.load('ter-table'))"),  # a committed result
        new_code_cell(VERSIONS),
    ]
    notebook = new_notebook(cells=cells)
    (tmp_path / "empty").mkdir()
    without.execute(notebook, tmp_path / "empty", **redirected)
    before, _, file, result, after = (
        "".join(output.get("text", "") for output in cell.outputs).strip() for cell in cells
    )
    assert str(without.root) in file and "parts" in result.split()
    own = f"'mdm-lab=={colab.mdm_lab.__version__}'"
    assert own in after and own not in before
    assert after.replace(f"{own}, ", "") == before
