"""Runs the parts of an experiment on several processes or a cluster; what is finished is kept."""

import functools
import os
import socket
import sys
import threading
import time
from contextlib import closing, contextmanager
from dataclasses import dataclass

from mdm_lab.experiments import results
from mdm_lab.experiments.tiers import SIZES


class ClusterError(RuntimeError):
    """A Dask cluster that cannot be used: not there, without workers, or with other code."""


@dataclass(frozen=True)
class Part:
    """One piece of work: `function(**arguments)` gives a dict that JSON can hold.

    cost is a rough guess of its share of the time: the dearest parts start first.
    """

    key: str
    function: callable
    arguments: dict
    cost: float = 1.0


def run(parts, store, workers=2, report=None, only=None, client=None):
    """Work through the parts that `store` does not hold yet, the dearest first.

    workers  processes on this machine, each working on one part at a time, on one thread
    report   takes a line of progress (default: standard error)
    only     the keys of the parts to run (default: all); finished ones of the others stay
    client   of a Dask cluster, from `cluster`: its workers do the work

    An interruption loses the parts under way and no others; an exception of a part names the
    part. Under torchrun every rank runs every part, one after the other in the same order, and
    rank 0 alone writes and reports.
    """
    if workers < 1:
        raise ValueError(f"workers must be at least 1; got {workers}")
    if int(os.environ.get("WORLD_SIZE", 1)) > 1:
        if client is not None:
            raise ValueError("client must be None under torchrun, whose ranks share each part")
        workers = 1
    report = report or (_to_standard_error if results.is_writer() else lambda line: None)
    for stale in set(store.parts) - {part.key for part in parts}:
        del store.parts[stale]
    wanted = [part for part in parts if only is None or part.key in only]
    todo = sorted((p for p in wanted if p.key not in store.parts), key=lambda p: -p.cost)
    if len(todo) < len(wanted):
        report(f"{len(wanted) - len(todo)} of {len(wanted)} parts are there already")
    costs = {part.key: part.cost for part in todo}
    start, done, total = time.monotonic(), 0.0, sum(costs.values())
    if client is not None:
        outcomes = _on_cluster(todo, client, store.provenance)
    else:
        outcomes = _one_by_one(todo) if workers == 1 else _on_processes(todo, workers)
    with closing(outcomes):
        for key, outcome in outcomes:
            store.add(key, outcome)
            done += costs[key]
            left = (time.monotonic() - start) * (total - done) / done
            seconds = outcome["seconds"]
            report(f"{done / total:4.0%}  {key}  {seconds:.1f} s, about {left:.0f} s left")
    store.write()


def _to_standard_error(line):
    print(line, file=sys.stderr, flush=True)


def _finish(part):
    """(key, outcome) of a part; its seconds are added, and to an exception its key."""
    start = time.monotonic()
    try:
        outcome = part.function(**part.arguments)
    except Exception as error:
        error.add_note(f"in part {part.key!r}")
        raise
    return part.key, {**outcome, "seconds": round(time.monotonic() - start, 2)}


def _one_by_one(todo):
    """Yields (key, outcome) of parts that run in this process, on one thread."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield from map(_finish, todo)
    finally:
        torch.set_num_threads(threads)


def _on_processes(todo, workers):
    """Yields (key, outcome) as parts finish in processes of their own."""
    from joblib import Parallel, delayed, parallel_config

    with parallel_config(backend="loky", inner_max_num_threads=1):
        pool = Parallel(workers, return_as="generator_unordered", batch_size=1, max_nbytes=None)
    yield from pool(delayed(_in_process)(part, os.getpid()) for part in todo)


def _in_process(part, parent):
    if os.name == "posix":
        _end_with(parent)
    import torch

    torch.set_num_threads(1)
    return _finish(part)


@functools.cache
def _end_with(parent):
    """Make this process end soon after its parent, which may have been killed outright."""

    def watch():
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


@contextmanager
def cluster(address, store):
    """A client of the Dask cluster at `address`, for `run`.

    address  "tcp://host:8786", or the path of the JSON file that its scheduler wrote
    store    what the run is for; its provenance takes on the devices of the workers

    Raises ClusterError if `distributed` is missing, nobody answers, there are no workers, or one
    of them has other code of the experiment or other versions than this process.
    """
    try:
        from distributed import Client
    except ImportError as error:
        raise ClusterError(
            'a Dask cluster needs the package distributed: pip install "mdm-lab[dask]"'
        ) from error
    by_file = address.endswith(".json")
    if by_file and not os.path.isfile(address):
        raise ClusterError(f"no scheduler has written {address}")
    try:
        client = Client(**{"scheduler_file" if by_file else "address": address})
    except (OSError, ValueError) as error:
        raise ClusterError(f"no Dask scheduler at {address}: {error}") from error
    with client:
        workers = client.run(_about_here, on_error="return")
        if not workers:
            raise ClusterError(f"the Dask cluster at {address} has no workers")
        for worker, found in workers.items():
            _refuse_other(f"worker {worker}", found, store.provenance)
        for field in ("device", "processor", "machine"):
            store.provenance[field] = ", ".join(sorted({w[field] for w in workers.values()}))
        store.provenance["cpu_count"] = sum(client.nthreads().values())
        yield client


@functools.cache
def _about_here():
    """What this process is: the code of every experiment, versions, device.

    As it first saw them: what a process has imported does not follow a later change of the files.
    """
    code = {name: results.experiment_digest(name) for name in SIZES}
    return {"code": code, **results.environment()}


def _refuse_other(worker, found, wanted):
    if isinstance(found, Exception):
        raise ClusterError(f"{worker} lacks this version of mdm_lab: {found}; install it there")
    code = found["code"].get(wanted["experiment"])
    if code != wanted["code"]:
        raise ClusterError(
            f"{worker} has other code: {code}, here {wanted['code']}; "
            "install the same mdm_lab there and start the worker again"
        )
    if found["versions"] != wanted["versions"]:
        raise ClusterError(
            f"{worker} has other versions: {found['versions']}, here {wanted['versions']}"
        )


def _on_cluster(todo, client, provenance):
    """Yields (key, outcome) as parts finish on the workers of a Dask cluster.

    By distributed itself and not by joblib's backend for it, which waits for ever (joblib 1.6.0)
    for a part that takes its workers down.
    """
    from distributed import as_completed

    futures = client.map(_on_worker, todo, provenance=provenance, pure=False)
    keys = {future.key: part.key for future, part in zip(futures, todo)}
    try:
        for future in as_completed(futures):
            try:
                key, outcome = future.result()
            except Exception as error:
                error.add_note(f"on the cluster, part {keys[future.key]!r}")
                raise
            yield key, outcome
    finally:
        client.cancel(futures)


def _on_worker(part, provenance):
    """A part on a worker, which may have joined after the others were asked what they are."""
    import torch

    _refuse_other(f"worker {socket.gethostname()}", _about_here(), provenance)
    torch.set_num_threads(1)
    return _finish(part)
