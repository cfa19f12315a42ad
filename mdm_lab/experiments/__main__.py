"""python -m mdm_lab.experiments NAME --tier TIER: makes a result, or takes up an unfinished one."""

import argparse
import dataclasses
import importlib
import sys
from contextlib import nullcontext
from pathlib import Path

from mdm_lab.experiments import results
from mdm_lab.experiments.runner import ClusterError, cluster, run
from mdm_lab.experiments.tiers import SIZES, TIERS, current_tier
from mdm_lab.training import distributed

DASK = """run the parts on a Dask cluster, not on this machine: the address of its scheduler
(tcp://host:8786), or the path of the JSON file that it wrote. This needs
pip install "mdm-lab[dask]" here, and this same mdm_lab, NumPy and PyTorch on every worker;
--workers does not count then, and the result is written here."""


def main(arguments=None):
    """Parse the command line and run one experiment; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m mdm_lab.experiments", description=__doc__)
    parser.add_argument("name", choices=sorted(SIZES), help="the experiment")
    parser.add_argument("--tier", choices=TIERS, help="its size (default: MDM_TIER, else smoke)")
    parser.add_argument("--workers", type=int, default=2, help="processes (default 2)")
    parser.add_argument("--dask", metavar="ADDRESS", help=DASK)
    parser.add_argument("--out", type=Path, help="folder of the result (default: book/results)")
    parser.add_argument(
        "--only",
        metavar="KEY",
        action="append",
        help="run the parts whose key contains KEY and leave the others as they are; repeatable",
    )
    parser.add_argument("--fresh", action="store_true", help="make finished parts again")
    chosen = parser.parse_args(arguments)
    tier = current_tier(chosen.tier)
    size = SIZES[chosen.name][tier]
    folder = chosen.out or (results.FOLDER if results.FOLDER.is_dir() else Path("results"))
    parts = parts_of(chosen.name, size, folder.resolve() / f"{chosen.name}.{tier}")
    only = [p.key for p in parts if any(text in p.key for text in chosen.only or [""])]
    if not only:
        keys = ", ".join(part.key for part in parts)
        parser.error(f"--only {' '.join(chosen.only)} is in the key of no part; they are: {keys}")
    settings = {k: v for k, v in dataclasses.asdict(size).items() if k != "minutes"}
    store = results.Store(folder, chosen.name, tier, settings)
    if chosen.fresh:
        for key in only:
            store.parts.pop(key, None)
    try:
        with distributed(), cluster(chosen.dask, store) if chosen.dask else nullcontext() as client:
            run(parts, store, chosen.workers, only=only, client=client)
    except ClusterError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"interrupted: finished parts are kept in {store.path}", file=sys.stderr)
        return 130
    if results.is_writer():
        print(f"{store.path}: {len(store.parts)} parts, {store.seconds} s of work")
    return 0


def parts_of(name, size, folder):
    """The parts of an experiment at a size.

    `folder` is for the files that parts leave, if the experiment says that they do (KEEPS_FILES);
    on a cluster, and under torchrun, on a disk that all share.
    """
    experiment = importlib.import_module(f"mdm_lab.experiments.{name.replace('-', '_')}")
    keeps_files = getattr(experiment, "KEEPS_FILES", False)
    return experiment.parts(size, folder) if keeps_files else experiment.parts(size)


if __name__ == "__main__":
    sys.exit(main())
