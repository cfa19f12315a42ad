"""The project's own rules: one address, one version, imports only downwards, no machine's paths."""

import ast
import importlib
import inspect
import os
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import policy
import pytest
import verify
import yaml
from tree import ROOT, address, chapters, pages

import mdm_lab

PACKAGE = ROOT / "mdm_lab"
SOURCES = sorted(PACKAGE.rglob("*.py"))
# From the ground up: a module imports only what stands before it. Up to `exact` none needs torch.
NUMPY_ONLY = ["checks", "posterior", "languages", "schedules", "orders", "information", "exact"]
FLOORS = [
    *NUMPY_ONLY,
    *("tensors", "forward", "reverse", "numerics", "denoisers", "samplers", "transformer"),
    *("objectives", "autoregressive", "training", "metrics", "plotting", "widgets", "experiments"),
]
NAMES = {path.relative_to(PACKAGE).parts[0].removesuffix(".py") for path in SOURCES} - {"__init__"}
MODULES = [name for name in FLOORS if name in NAMES]


def tracked() -> list[Path]:
    """The files of the tree; without git, those that are not made by a tool."""
    listing = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True)
    if listing.returncode == 0 and listing.stdout:
        paths = [ROOT / name for name in listing.stdout.split("\0") if name]
        return [path for path in paths if path.is_file()]
    made = re.compile(r"^(\.venv|_build|build|\.[a-z_]+_cache)/|__pycache__|egg-info")
    everything = (path for path in ROOT.rglob("*") if path.is_file())
    return [p for p in everything if not made.search(p.relative_to(ROOT).as_posix())]


def texts() -> dict[str, str]:
    found = {}
    for path in tracked():
        try:
            found[path.relative_to(ROOT).as_posix()] = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
    return found


def test_the_address_stands_in_one_place():
    owner_and_name = address().removeprefix("https://github.com/")
    places = [name for name, text in texts().items() for _ in range(text.count(owner_and_name))]
    assert places == ["_config.yml"]


def test_no_file_names_a_place_on_one_machine():
    elsewhere = re.compile(r"(?<![\w.:/~])/(?:work|tmp|home|root)/[\w.]")
    allowed = {"tests/test_notebooks.py"}  # paths that the policy must refuse
    found = {name for name, text in texts().items() if elsewhere.search(text)}
    assert found - allowed == set()


def test_versions_agree():
    version = mdm_lab.__version__
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert str(citation["version"]) == version
    assert re.search(r"^## (\S+)", changelog, re.M)[1] == version
    assert 'dynamic = ["version"]' in (ROOT / "pyproject.toml").read_text(encoding="utf-8")


def test_requirements_are_exact_and_constraints_do_not_repeat_them():
    requirements = (ROOT / "requirements.txt").read_text(encoding="utf-8")
    lines = [line.split("#")[0].strip() for line in requirements.splitlines()]
    named = [line for line in lines if line and not line.startswith("-")]
    assert all(re.fullmatch(r"[\w.-]+==[\w.]+", line) for line in named), named
    constraints = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    repeated = {line.split("==")[0].lower() for line in named} & {
        line.split("==")[0].lower() for line in constraints.splitlines()
    }
    assert repeated == set()


def test_every_module_has_its_floor():
    assert set(FLOORS) >= NAMES


def imported(path: Path) -> set[str]:
    """The modules of mdm_lab that a source file imports, wherever in the file."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return {name.split(".")[1] for name in found if name.startswith("mdm_lab.")}


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_module_imports_only_from_the_floors_below(path):
    own = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    if own == "__init__":
        assert imported(path) == set()
    else:
        below = set(FLOORS[: FLOORS.index(own)]) | {own}
        assert imported(path) <= below, f"{own} imports {imported(path) - below}"


@pytest.mark.parametrize("name", [name for name in NUMPY_ONLY if name in NAMES])
def test_exact_modules_import_without_torch(name):
    code = (
        f"import sys, mdm_lab.{name}\n"
        "print(sorted({'torch', 'matplotlib', 'scipy', 'IPython'} & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_module_is_one_concept_long(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 260


@pytest.mark.parametrize("name", MODULES)
def test_public_names_are_documented(name):
    module = importlib.import_module(f"mdm_lab.{name}")
    assert module.__doc__
    for key, value in vars(module).items():
        own = getattr(value, "__module__", "").startswith(f"mdm_lab.{name}")
        if (
            key.startswith("_")
            or not own
            or not (inspect.isfunction(value) or inspect.isclass(value))
        ):
            continue
        assert value.__doc__, f"{name}.{key}"
        for method, function in vars(value).items() if inspect.isclass(value) else []:
            if inspect.isfunction(function) and not method.startswith("_"):
                assert inspect.getdoc(getattr(value, method)), f"{name}.{key}.{method}"


def test_every_module_is_on_the_api_page():
    page = (ROOT / "book" / "api.md").read_text(encoding="utf-8")
    listed = re.findall(r"automodule:: mdm_lab\.(\w+)", page)
    assert listed == MODULES


def test_every_module_has_its_test_file():
    words = {word for path in (ROOT / "tests").glob("test_*.py") for word in imported(path)}
    assert {name for name in NAMES if name not in words} <= {"experiments", "plotting"}


@pytest.mark.parametrize("path", chapters(), ids=[path.stem for path in chapters()])
def test_chapter_names_tests_that_exist(path):
    text = "\n".join(cell.source for cell in nbformat.read(path, as_version=4).cells)
    named = re.findall(r"tests/(test_\w+\.py)(?:::(test_\w+))?", text)
    assert named, "a chapter names the tests that check it: tests/test_x.py::test_y"
    for file, function in named:
        source = (ROOT / "tests" / file).read_text(encoding="utf-8")
        assert not function or re.search(rf"^\s*def {function}\b", source, re.M), (file, function)


def test_every_page_of_the_book_is_in_its_table_of_contents():
    outside = {"assets", "extensions", "tools", "results"}
    written = {
        path
        for path in (ROOT / "book").rglob("*.md")
        if path.relative_to(ROOT / "book").parts[0] not in outside
    }
    assert written <= {path for path, _ in pages()}


def test_pages_keep_to_colon_fences():
    for path, _ in pages():
        if path.suffix == ".md" and path.stem != "api":
            directives = re.findall(r"^\s*`{3,}\{.*", path.read_text(encoding="utf-8"), re.M)
            assert directives == [], path
            text = policy._prose(path.read_text(encoding="utf-8"))
            assert not policy.ABSOLUTE_PATH.search(text), path


def test_make_test_and_ci_run_the_same():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert "book/tools/verify.py" in makefile
    assert "make test" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    workflows = (ROOT / ".github" / "workflows").glob("*.yml")
    assert any("make test" in path.read_text(encoding="utf-8") for path in workflows)
    assert os.access(ROOT / ".ci" / "run", os.X_OK)


def test_a_failing_stage_fails_the_whole(monkeypatch, capsys):
    def stage(name, code, needs=None):
        return verify.Stage(name, "", [[sys.executable, "-c", f"raise SystemExit({code})"]], needs)

    stages = [stage("good", 0), stage("bad", 3), stage("after", 0), stage("built on bad", 0, "bad")]
    monkeypatch.setattr(verify, "STAGES", stages)
    assert verify.main([]) == 1
    assert "2 failed, 2 passed, 0 skipped" in capsys.readouterr().out
    monkeypatch.setattr(verify, "STAGES", stages[:1])
    assert verify.main([]) == 0
    assert verify.main(["unheard of"]) == 2
