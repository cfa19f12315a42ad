"""Checkpoints: safetensors files, checked on reading, never unpickled, never half written.

A file holds tensors by name and a dictionary of JSON; a digest over both is kept beside them, since
the format itself would not notice a changed number.
"""

import dataclasses
import hashlib
import json
import os
from contextlib import suppress
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from mdm_lab.transformer import Shape, Transformer

FORMAT = "mdm_lab checkpoint 1"


class CheckpointError(ValueError):
    """A file that is no checkpoint of this project, is damaged, or belongs to another run."""


def write(path, tensors, about):
    """Write tensors {name: tensor} and `about`, which JSON must hold. Atomic: all or nothing.

    Raises OSError when it fails (a full disk, say); what stood at `path` before still stands.
    """
    path = Path(path)
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    about = json.dumps(about, sort_keys=True)
    content = save(tensors, {"format": FORMAT, "about": about, "digest": _digest(tensors, about)})
    partial = path.with_name(path.name + ".partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(partial, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except OSError as error:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
        stands = "the one that was there still stands" if path.is_file() else "there is none yet"
        message = f"the checkpoint {path} could not be written ({error.strerror}); {stands}"
        raise OSError(error.errno, message) from error


def read(path):
    """(tensors, about) of a file that `write` made; raises CheckpointError for any other."""
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no checkpoint {path}")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            if metadata.get("format") != FORMAT:
                raise CheckpointError(f"{path} is not a checkpoint of mdm_lab: remove it")
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise CheckpointError(
            f"{path} is not a safetensors file, or is damaged ({error}); it was not opened in any "
            "other way: remove it, or name another"
        ) from error
    about = metadata.get("about", "")
    if _digest(tensors, about) != metadata.get("digest"):
        raise CheckpointError(f"{path} is damaged: its digest does not fit what it holds")
    return tensors, json.loads(about)


def save_network(path, network, **about):
    """Write the weights and the shape of a network, with whatever else is to be remembered."""
    shape = dataclasses.asdict(network.shape)
    write(path, network.state_dict(), {**about, "shape": shape})


def load_network(path, device="cpu"):
    """(network, about): the network of `save_network`, or the average of a training checkpoint.

    Raises FileNotFoundError, or CheckpointError for a file that is damaged or something else.
    """
    tensors, about = read(path)
    try:
        network = Transformer(Shape(**about["shape"]))
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path} does not say which network it is of: {error}") from error
    average = {
        n.removeprefix("average."): t for n, t in tensors.items() if n.startswith("average.")
    }
    restore(network, average or tensors, path)
    return network.to(device).eval(), about


def restore(network, tensors, path):
    """Put tensors into a network whose weights they must fit in name, size and type."""
    expected = {name: (t.shape, t.dtype) for name, t in network.state_dict().items()}
    found = {name: (t.shape, t.dtype) for name, t in tensors.items()}
    if expected != found:
        wrong = sorted(n for n in expected.keys() | found.keys() if expected.get(n) != found.get(n))
        raise CheckpointError(f"{path} does not fit the network: {', '.join(wrong[:3])} ...")
    network.load_state_dict(tensors)


def _digest(tensors, about):
    digest = hashlib.sha256(about.encode())
    for name in sorted(tensors):
        tensor = tensors[name].contiguous()
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        digest.update(tensor.view(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
