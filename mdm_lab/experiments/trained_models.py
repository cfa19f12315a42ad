"""The trained models: for each language a diffusion model and an autoregressive one.

Both are the same transformer, causal or not, trained alike on fresh samples of the language. A part
leaves its network in a file beside the result; the experiments that look at trained models read
them there. Chapter: *Trained models*.
"""

import hashlib
from contextlib import nullcontext
from importlib.resources import files
from pathlib import Path

from mdm_lab.experiments import results
from mdm_lab.experiments.languages import language
from mdm_lab.experiments.runner import Part
from mdm_lab.objectives.batches import autoregressive, exact_count
from mdm_lab.training import FromLanguage, Recipe, device_name, load_network, save_network, train
from mdm_lab.training.devices import best_device, distributed, rank_and_world
from mdm_lab.transformer import Shape, Transformer

KINDS = {"mdm": exact_count, "ar": autoregressive}
KEEPS_FILES = True
HELD_OUT = 1_000_000_007  # the seed of validation text, which no step of training has


def parts(size, folder):
    """One part a model; `folder` is where the networks go."""
    return [
        Part(
            f"{label} {kind}",
            trained,
            {
                "label": label,
                "name": model["language"],
                "kind": kind,
                "folder": str(folder),
                "length": size.length,
                "shape": {"vocab_size": model["vocab_size"], "causal": kind == "ar", **size.shape},
                "recipe": {**size.recipe, "steps": model[kind], **_rate(model, kind)},
                "held_out": size.held_out,
            },
            float(model[kind]),
        )
        for label, model in size.models.items()
        for kind in KINDS
    ]


def _rate(model, kind):
    rate = model.get("rates", {}).get(kind)
    return {} if rate is None else {"learning_rate": rate}


def trained(label, name, kind, folder, length, shape, recipe, held_out):
    """Train one model and keep its average: history, size, and the digest of the network's file."""
    network, data, recipe = prepare(name, length, shape, recipe)
    lang = data.lang
    file = file_of(folder, label, kind)
    running = file.with_suffix(".training")
    # One process group serves all parts: `__main__` has opened it, if there are several processes.
    with nullcontext(best_device()) if rank_and_world()[1] > 1 else distributed() as device:
        run = train(
            network,
            KINDS[kind],
            data,
            recipe,
            validation=lang.sample(held_out, length, HELD_OUT),
            checkpoint=running,
            device=device,
        )
        where, first = device_name(device), rank_and_world()[0] == 0
    if first:
        save_network(file, run.average.cpu(), language=name, kind=kind, length=length)
        running.unlink(missing_ok=True)
    return {
        "language": name,
        "vocab_size": lang.vocab_size,
        "kind": kind,
        "length": length,
        "parameters": network.parameters_count,
        "tokens": recipe.steps * recipe.batch_size * length,
        "device": where,
        "file": file.name,
        "digest": digest(file) if first else None,
        "validation": run.history[-1]["validation"],
        "history": run.history,
    }


def prepare(name, length, shape, recipe):
    """(network, data, recipe) of a run, all from numbers that a result holds."""
    lang = language(name, shape["vocab_size"])
    return Transformer(Shape(**shape)), FromLanguage(lang, length), Recipe(**recipe)


def file_of(folder, label, kind):
    """The file of a network."""
    return Path(folder) / f"{label.replace(' ', '-')}-{kind}.safetensors"


def folder_of(tier="cpu"):
    """The committed folder of networks. At the tier cpu it also has `abandoned.json`: histories of
    runs at the recipe's own learning rate, whose losses jumped, and which were made again."""
    inside = results.FOLDER if results.FOLDER.is_dir() else files("mdm_lab") / "results"
    return Path(inside / f"trained-models.{tier}")


def network_of(label, kind, tier="cpu", folder=None):
    """The trained network of a label, kind "mdm" or "ar", and what its file says of it.

    From `folder`, or the committed one. Raises FileNotFoundError with the command that makes it.
    """
    folder = folder_of(tier) if folder is None else folder
    file = file_of(folder, label, kind)
    if not file.is_file():
        tier = Path(folder).suffix.removeprefix(".")  # the folder that was asked for says which
        raise FileNotFoundError(
            f"no network {file}: make it with "
            f"python -m mdm_lab.experiments trained-models --tier {tier}, "
            "with the same --out if there was one"
        )
    return load_network(file)


def digest(file):
    """The first digits of the SHA-256 of a file."""
    return hashlib.sha256(file.read_bytes()).hexdigest()[:16]
