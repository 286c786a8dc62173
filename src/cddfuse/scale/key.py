"""What the results of a job depend on, noted beside them: jobs that differ do not mix."""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from cddfuse.errors import InputError
from cddfuse.io.files import replacing
from cddfuse.io.formats import Writing
from cddfuse.io.image_files import ImagePairs
from cddfuse.models.base import FusionModel
from cddfuse.models.weights import constructor_options
from cddfuse.pipeline import Options
from cddfuse.runtime import Limits

NAME = "fuse.key.json"


def fingerprint(model: FusionModel) -> str:
    """A hash of a network: name, options and weights."""
    facts = [model.card.name, json.dumps(constructor_options(model), sort_keys=True, default=str)]
    digest = hashlib.sha256("\n".join(facts).encode())
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()


def facts_of(
    model: FusionModel, source: ImagePairs, writing: Writing, options: Options
) -> dict[str, Any]:
    """What the pixels and the files of the results depend on, beside the sources."""
    limits = options.limits or Limits()
    return {
        "network": fingerprint(model),
        "resize": source.resize,
        "range": source.ranges.texts if source.ranges else None,
        "transform": asdict(source.transform) if source.transform else None,
        "celsius": source.celsius,
        "suffix": writing.suffix,
        "form": writing.form,
        "bits": writing.bits,
        "strip": writing.strip,
        "grey": options.grey,
        "stretch": options.stretch,
        "colour": options.colour,
        "precision": limits.precision,
        # Named only if chosen: older jobs, which did not note them, can be resumed.
        **({} if limits.kernels == "auto" else {"kernels": limits.kernels}),
        **({"tile": limits.tile} if limits.tile else {}),
    }


def require_same(output: Path, facts: Mapping[str, Any], *, overwrite: bool) -> None:
    """Note the facts of a job beside its results; refuse to mix them with those of another.

    Raises:
        InputError: results in the folder are of other weights or settings.
    """
    path = output / NAME
    facts = json.loads(json.dumps(facts))
    if not overwrite and os.path.isfile(path):
        try:
            stored = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise InputError(f"{path} is damaged: remove it, or overwrite.", "overwrite") from error
        if stored == facts:
            return
        known = stored if isinstance(stored, dict) else {}
        other = [name for name, value in facts.items() if known.get(name) != value]
        raise InputError(
            f"the results in {output} were made with another {other[0] if other else 'job'}: use "
            "the same, another folder, or overwrite them.",
            setting="overwrite",
        )
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
