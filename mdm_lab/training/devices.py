"""Where a run happens: one CPU, one GPU, or several processes started by torchrun."""

import os
import platform
from contextlib import contextmanager

import torch
import torch.distributed as dist


def best_device():
    """The GPU of this process if there is one, else the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)))
    return torch.device("cpu")


def device_name(device):
    """What a result says of the device it was made on."""
    device = torch.device(device)
    if device.type == "cuda":
        return f"cuda ({torch.cuda.get_device_name(device)})"
    return f"{device.type} ({platform.machine()}, {torch.get_num_threads()} threads)"


def autocast(device, precision):
    """The context in which the forward pass runs: bfloat16 products, or none (float32)."""
    if precision == "auto":
        helps = device.type == "cuda" and torch.cuda.is_bf16_supported()
        precision = "bfloat16" if helps else "float32"
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16")


@contextmanager
def distributed():
    """Join the other processes that torchrun has started, if it has; yields the device.

        torchrun --nproc-per-node 8 -m mdm_lab.experiments trained-models --tier paper

    Within it `train` gives each process its share of every batch.
    """
    device = best_device()
    joined = int(os.environ.get("WORLD_SIZE", 1)) > 1
    if joined:
        if device.type == "cuda":
            torch.cuda.set_device(device)
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield device
    finally:
        if joined:
            dist.destroy_process_group()


def rank_and_world():
    """(number of this process, number of processes): (0, 1) outside `distributed`."""
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank(), dist.get_world_size()
    return 0, 1


def mean_over_processes(values):
    """The mean of a tensor over all processes, in place."""
    if rank_and_world()[1] > 1:
        dist.all_reduce(values)
        values /= dist.get_world_size()
    return values
