"""Everything that CI runs, stage by stage, with one table at the end: `make test`.

    python book/tools/verify.py [STAGE ...]      (default: all of them, in order)

A stage that fails does not hide the results of the others; one that needs a stage that failed is
not run.
"""

import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from tree import BUILD, ROOT, SETTINGS, SITE, environment, find_browser

PYTHON = sys.executable
JUPYTER_BOOK = str(Path(PYTHON).with_name("jupyter-book"))
CODE = [name for name in ("mdm_lab", "tests", "book", "benchmarks") if (ROOT / name).exists()]
PYTEST = [PYTHON, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
TWO_WORKERS = ["-n", "2", "--dist", "loadfile"]
NBVAL = [
    *PYTEST,
    *("--nbval", "--nbval-current-env", "--nbval-cell-timeout=600"),
    *("--nbval-sanitize-with", "tests/nbval.cfg"),
    *("-o", "filterwarnings=default", "-n", "2", "--dist", "loadscope"),
]
COLAB_RUNS = "tests/test_colab_runs.py"
FORMS = "tests/test_forms.py"  # students' notebooks, and the PDF and EPUB where they were made
SITE_TESTS = ["tests/test_site.py", "tests/test_browser.py", "tests/test_accessibility.py"]


@dataclass(frozen=True)
class Stage:
    """One row of the table: commands run in order; without the stage `needs` it makes no sense."""

    name: str
    what: str
    commands: list[list[str]]
    needs: str | None = None


STAGES = [
    Stage(
        "lint",
        "style of code and notebooks, notebook policy",
        [
            [PYTHON, "-m", "ruff", "check", *CODE],
            [PYTHON, "-m", "ruff", "format", "--check", *CODE],
            [PYTHON, "book/tools/policy.py"],
        ],
    ),
    Stage(
        "tests",
        "modules, theorems, project, Colab edition",
        [
            [
                *PYTEST,
                "tests",
                *TWO_WORKERS,
                "--durations=10",
                *(f"--ignore={name}" for name in (COLAB_RUNS, FORMS, *SITE_TESTS)),
            ]
        ],
    ),
    Stage("notebooks", "every chapter's outputs against a fresh run", [[*NBVAL, "book"]]),
    Stage(
        "colab",
        "the Colab edition, run with nothing but what Colab has",
        [[*PYTEST, COLAB_RUNS, "-n", "2", "--dist", "load"]],
    ),
    Stage(
        "site",
        "the site, built from those outputs, warnings as errors",
        [[JUPYTER_BOOK, "build", ".", "-n", "-W", "--keep-going"]],
    ),
    Stage("pages", "the built pages", [[*PYTEST, SITE_TESTS[0], FORMS]], needs="site"),
    Stage(
        "browser",
        "every page in headless Chromium, and axe-core on it",
        [[*PYTEST, *SITE_TESTS[1:], *TWO_WORKERS]],
        needs="site",
    ),
]


def run(stage: Stage) -> str:
    """Run a stage's commands and say how it went."""
    if stage.name == "site":  # a page that is no longer in the book must not stay in the site
        shutil.rmtree(SITE, ignore_errors=True)
        shutil.rmtree(BUILD / ".doctrees", ignore_errors=True)
    if stage.name == "browser" and find_browser() is None:
        return "SKIPPED: no Chromium or Chrome on this machine"
    failed = 0
    for command in stage.commands:
        print(
            "$",
            " ".join(
                os.path.relpath(c, ROOT) if c in (PYTHON, JUPYTER_BOOK) else c for c in command
            ),
            flush=True,
        )
        failed += subprocess.run(command, cwd=ROOT, env=environment()).returncode != 0
    return "failed" if failed else "passed"


def main(names: list[str]) -> int:
    if unknown := set(names) - {stage.name for stage in STAGES}:
        print(f"no such stage: {sorted(unknown)}; there are {[stage.name for stage in STAGES]}")
        return 2
    rows, start = {}, time.perf_counter()
    for stage in [s for s in STAGES if not names or s.name in names]:
        print(f"\n=== {stage.name}: {stage.what}", flush=True)
        began = time.perf_counter()
        skipped = stage.needs and not rows.get(stage.needs, ("passed",))[0].startswith("passed")
        result = f"not run: {stage.needs} failed" if skipped else run(stage)
        rows[stage.name] = (result, time.perf_counter() - began)
    print("\n" + " ".join(f"{name}={value}" for name, value in SETTINGS.items()))
    print(f"{'stage':<11}{'result':<10}{'seconds':>8}")
    for name, (result, seconds) in rows.items():
        print(f"{name:<11}{result:<10}{seconds:>8.1f}")
    bad = [name for name, (result, _) in rows.items() if result.startswith(("failed", "not run"))]
    passed = sum(result == "passed" for result, _ in rows.values())
    skipped = len(rows) - len(bad) - passed
    print(
        f"{len(bad)} failed, {passed} passed, {skipped} skipped"
        f" in {time.perf_counter() - start:.0f} s"
    )
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
