"""What makes timings comparable: one thread, warm, interleaved, the least of several.

Seconds are processor time of the whole process, user and system, over all its threads: on one
thread that is what the clock of a quiet machine shows, and neighbours that take turns with it do
not count. Import this module before any other: the libraries read these settings when they start.
"""

import os
import platform
import statistics
import sys
import time
from importlib import metadata

for name in ("OMP", "OPENBLAS", "MKL", "NUMEXPR", "NUMBA"):
    os.environ[f"{name}_NUM_THREADS"] = "1"
os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["JAX_ENABLE_X64"] = "1"
if hasattr(os, "sched_setaffinity"):  # one core for the whole process: nobody gets a second one
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})


def in_turns(functions, repeats):
    """Processor seconds of each of `functions` {name: function}: {name: [seconds of each call]}.

    All are called in turn, `repeats` times, so that a slow spell of the machine hits all alike.
    """
    seconds = {name: [] for name in functions}
    for _ in range(repeats):
        for name, function in functions.items():
            begin = time.process_time()
            function()
            seconds[name].append(time.process_time() - begin)
    return seconds


def interleaved(functions, repeats):
    """`in_turns`, in short: {name: (least, median)}."""
    return {name: summary(taken) for name, taken in in_turns(functions, repeats).items()}


def summary(taken):
    """(least, median) of seconds."""
    return min(taken), statistics.median(taken)


def ratio(slow, fast):
    """The median, over the turns, of seconds of one by seconds of another in the same turn."""
    return statistics.median(a / b for a, b in zip(slow, fast, strict=True))


def shown(times, unit=1e-3):
    """'least (median)' of a pair of seconds, to three digits, in ms or another unit."""
    return " ({}) ".join(["{}", ""]).format(*(f"{t / unit:.3g}" for t in times)).strip()


def row(*cells):
    """Print one row of a Markdown table, at once."""
    print("| " + " | ".join(map(str, cells)) + " |", flush=True)


def header(*cells):
    """Print the head of a Markdown table."""
    row(*cells)
    row(*["---"] * len(cells))


def machine(*packages):
    """Print what the figures depend on: processor, load, versions of Python and `packages`."""
    model = platform.processor() or platform.machine()
    if os.path.exists("/proc/cpuinfo"):
        with open("/proc/cpuinfo") as lines:
            names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
        model = names[0] if names else model
    load = f"{os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "unknown"
    print(f"{model}, {os.cpu_count()} cores, one of them used; load {load}; processor time")
    versions = [f"{name} {metadata.version(name)}" for name in packages]
    print(", ".join([f"Python {sys.version.split()[0]}", *versions]), end="\n\n", flush=True)
