"""Find, verify, load and save the trained state of a network."""

import hashlib
import json
import os
import pickle
import re
from collections.abc import Iterator, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from cddfuse.errors import InputError, trouble
from cddfuse.io.files import replacing
from cddfuse.models.base import FusionModel

_PRETRAINED = files("cddfuse.models") / "pretrained"
_SHOWN = 5  # names listed of those that do not fit
_WRAPPERS = ("state_dict", "model_state_dict", "model")  # keys of training checkpoints
_PREFIXES = ("module.", "_orig_mod.", "model.")  # of DataParallel, torch.compile, Lightning
_SUFFIXES = (".safetensors", ".pth", ".pt", ".pkl", ".ckpt", ".bin", ".onnx", ".xml", ".h5")
_LONGEST_HEADER = 100_000_000  # bytes; the limit of safetensors itself
_TIMEOUT = 5  # seconds until the hub counts as unreachable


def save_weights(model: FusionModel, path: Path, facts: Mapping[str, str] | None = None) -> None:
    """Write one safetensors file: the weights, and in its header how to build the network.

    Args:
        model: the network.
        path: ends in `.safetensors`; written atomically.
        facts: more for the header, such as what the weights were trained on.
    """
    header = {
        "cddfuse.model": model.card.name,
        "cddfuse.options": json.dumps(constructor_options(model)),
        **(facts or {}),
    }
    state = {name: tensor.contiguous() for name, tensor in model.weights().items()}
    with replacing(path) as temporary:
        temporary.write_bytes(_ordered(save(state, header)))


def _ordered(data: bytes) -> bytes:
    """The same file with its header in order, so that equal weights are equal files."""
    length = int.from_bytes(data[:8], "little")
    entries = json.loads(data[8 : 8 + length])
    entries["__metadata__"] = dict(sorted(entries["__metadata__"].items()))
    header = json.dumps(entries, ensure_ascii=False, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)
    return len(header).to_bytes(8, "little") + header + data[8 + length :]


def load_weights(
    kind: type[FusionModel],
    source: str | Path,
    options: Mapping[str, Any] | None = None,
    *,
    defaults: Mapping[str, Any] | None = None,
) -> FusionModel:
    """Build a network and give it a trained state.

    Args:
        kind: class of the network.
        source: a name on the network's card, or of imported weights; a weights file or a training
            checkpoint of this network, or one in the layout of the network's authors, read without
            running any code in it; a folder written by `save_pretrained`; or the id of a repository
            on the hub.
        options: constructor arguments; they override those that the weights come with.
        defaults: constructor arguments where the weights do not say otherwise.
    """
    options, defaults = options or {}, defaults or {}
    if str(source) in kind.card.weights:
        weights = kind.card.weights[str(source)]
        path = Path(str(_PRETRAINED / weights.location))
        _verify(path, weights.sha256)
        return _built(kind, {**weights.options, **options}, _read(path)[0], path)
    path = imported(kind).get(str(source), Path(source).expanduser())
    if os.path.isdir(path):
        return _from_folder(kind, path, options)
    if os.path.isfile(path):
        tensors, header = _read(path)
        _check_kind(kind, header, path)
        stored = _stored_options(header, path)
        state, implied = _converted(kind, tensors, path)
        return _built(kind, {**defaults, **implied, **stored, **options}, state, path)
    if _may_be_repository(str(source)):
        return _from_hub(kind, str(source), options)
    known = ", ".join((*kind.card.weights, *imported(kind))) or "none"
    text = (
        f"there are no weights {source}: give a file that exists, a repository of the hub, or a "
        f"name of {kind.card.name} (known: {known})."
    )
    raise InputError(text, setting="weights")


def _may_be_repository(source: str) -> bool:
    """Whether a name that is no file looks like `user/repository` and like no path."""
    if not re.fullmatch(r"\w[\w.-]*/\w[\w.-]*", source, re.ASCII):
        return False
    return not source.lower().endswith(_SUFFIXES) and not os.path.isdir(source.split("/")[0])


def _from_hub(kind: type[FusionModel], name: str, options: Mapping[str, Any]) -> FusionModel:
    """Weights of the hub; those in its cache where it cannot be reached, or HF_HUB_OFFLINE is set.

    One question with a short timeout comes first, as the hub's own functions try for half a minute.
    """
    from huggingface_hub import HfApi  # imported late, as in `cddfuse.models.hub`
    from huggingface_hub.errors import RepositoryNotFoundError

    try:
        HfApi().model_info(name, timeout=_TIMEOUT)
        reachable = True
    except RepositoryNotFoundError as error:
        text = f"there is no file {name}, and no public repository of that name on the hub."
        raise InputError(text, setting="weights") from error
    except Exception:  # the libraries below it raise their own when there is no connection
        reachable = False
    try:
        return kind.from_pretrained(name, local_files_only=not reachable, **options)
    except (OSError, ValueError, RuntimeError) as error:
        why = "has no weights that fit: check the name"
        if not reachable:
            why = "cannot be reached: check the name and the connection"
        text = f"there is no file {name}, and the hub {why}."
        raise InputError(text, setting="weights") from error


def load_converted(
    kind: type[FusionModel], paths: Sequence[Path], defaults: Mapping[str, Any]
) -> FusionModel:
    """Build a network from files of its authors, or of ours.

    Args:
        kind: class of the network.
        paths: one file, or several that hold a part of the network each.
        defaults: constructor arguments, where the files do not say otherwise.
    """
    state: dict[str, Tensor] = {}
    options = dict(defaults)
    for path in paths:
        tensors, header = _foreign(path)
        _check_kind(kind, header, path)
        converted, implied = _converted(kind, tensors, path)
        state |= converted
        options |= {**implied, **_stored_options(header, path)}
    return _built(kind, options, state, paths[0])


def imported(kind: type[FusionModel]) -> dict[str, Path]:
    """Weights in the user's cache by name."""
    folder = imported_path(kind, "any").parent
    return {path.stem: path for path in sorted(folder.glob("*.safetensors"))}


def imported_path(kind: type[FusionModel], name: str) -> Path:
    """Where imported weights of that name are kept."""
    return cache_folder("weights") / kind.card.name / f"{name}.safetensors"


def located(source: str, kind: type[FusionModel]) -> str:
    """Weights as they can be found again from another folder: a path is made absolute."""
    named = source in kind.card.weights or source in imported(kind)
    path = Path(source).expanduser()
    return str(path.resolve()) if source and not named and path.exists() else source


def cache_folder(name: str) -> Path:
    """A folder of the user's cache."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "cddfuse" / name


def network_of(path: Path) -> str | None:
    """The network that a weights file of ours is for; None for other files."""
    if not path.is_file() or _content(path) != "safetensors":
        return None
    return _read(path)[1].get("cddfuse.model")


def _foreign(path: Path) -> tuple[dict[str, Any], dict[str, str]]:
    """Tensors by name of a file of PyTorch, safetensors or TensorFlow, and its header if any."""
    if path.with_name(f"{path.name}.index").is_file():
        try:
            from tensorflow.train import load_checkpoint  # an extra that hardly anybody needs
        except ImportError as error:
            raise InputError(
                f"{path} is a checkpoint of TensorFlow: pip install 'cddfuse[tensorflow]' first."
            ) from error
        reader = load_checkpoint(str(path))
        names = reader.get_variable_to_shape_map()
        return {name: torch.as_tensor(reader.get_tensor(name)) for name in names}, {}
    if not path.is_file():
        raise InputError(f"there is no file {path}: check the name.")
    return _read(path)


def constructor_options(model: FusionModel) -> dict[str, Any]:
    """Constructor arguments of a network, as it has noted them."""
    return dict(model._constructor_options)


def _verify(path: Path, sha256: str) -> None:
    if not path.is_file():
        raise InputError(f"the weights {path} are missing: install cddfuse again.")
    if hashlib.sha256(path.read_bytes()).hexdigest() != sha256:
        raise InputError(f"the weights {path} are damaged: install cddfuse again.")


def _read(path: Path) -> tuple[dict[str, Any], dict[str, str]]:
    """Tensors by name, and the header if there is one. The content decides, not the suffix."""
    if _content(path) == "safetensors":
        try:
            with safe_open(path, framework="pt") as opened:
                names = opened.keys()
                return {name: opened.get_tensor(name) for name in names}, opened.metadata() or {}
        except SafetensorError as error:
            raise InputError(f"{path} is damaged or no safetensors file: {error}.") from error
    try:
        with path.open("rb") as file:  # given a name, torch goes by its suffix
            checkpoint = torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise InputError(
            f"{path} is refused: it is damaged, or wants to run code of its own when read; "
            "get a checkpoint that holds tensors only, best a .safetensors file."
        ) from error
    except Exception as error:  # Of a damaged file, torch and pickle raise a dozen kinds.
        raise InputError(f"{path} is damaged or no checkpoint: get it again.") from error
    if not isinstance(checkpoint, dict):
        raise InputError(f"{path} holds a {type(checkpoint).__name__}, not weights by name.")
    return checkpoint, {}


def _content(path: Path) -> Literal["safetensors", "pickle"]:
    """What a file is by its first bytes, or what is taken for it by its suffix."""
    with trouble(f"read {path}"), path.open("rb") as file:
        start = file.read(64)
    if start.startswith(b"version https://git-lfs"):
        raise InputError(f"{path} is a Git LFS pointer, not the weights: run `git lfs pull` there.")
    if start.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"<"):
        raise InputError(f"{path} is a web page (HTML), not the weights: download the file itself.")
    if start[8:9] == b"{" and int.from_bytes(start[:8], "little") <= _LONGEST_HEADER:
        return "safetensors"
    known = start.startswith((b"PK\3\4", b"\x80"))  # a zip file of PyTorch, or its older pickle
    return "safetensors" if path.suffix == ".safetensors" and not known else "pickle"


def _from_folder(kind: type[FusionModel], folder: Path, options: Mapping[str, Any]) -> FusionModel:
    config, file = folder / "config.json", folder / "model.safetensors"
    if not file.is_file():
        raise InputError(
            f"the folder {folder} holds no model.safetensors: give the weights file itself."
        )
    stored = _parsed(config.read_text(errors="replace"), config) if config.is_file() else {}
    return _built(kind, {**stored, **options}, _read(file)[0], file)


def _stored_options(header: Mapping[str, str], path: Path) -> dict[str, Any]:
    """Constructor arguments that a file of ours was saved with."""
    return _parsed(header.get("cddfuse.options", "{}"), path)


def _parsed(options: str, path: Path) -> dict[str, Any]:
    """Constructor arguments from their JSON."""
    try:
        parsed = json.loads(options)
    except ValueError:
        parsed = None
    if not isinstance(parsed, dict):
        raise InputError(f"{path} does not say how its network is built: write it again.")
    return parsed


def _check_kind(kind: type[FusionModel], header: Mapping[str, str], path: Path) -> None:
    name = header.get("cddfuse.model", kind.card.name)
    if name != kind.card.name:
        raise InputError(f"{path} holds weights of {name}, not of {kind.card.name}.")


def _converted(
    kind: type[FusionModel], checkpoint: dict[str, Any], path: Path
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The state dict of a checkpoint, and the options that follow from it."""
    for state in _unwrapped(checkpoint):
        try:
            converted = kind.convert_checkpoint(state)
            if converted is not None:
                return converted, kind.implied_options(state)
        except (AttributeError, TypeError) as error:
            raise InputError(
                f"{path} has the keys of a checkpoint but holds no tensors."
            ) from error
    foreign = [str(name) for name, value in state.items() if not isinstance(value, Tensor)]
    if foreign or not state:
        raise InputError(
            f"{path} is no checkpoint of {kind.card.name}: it holds {_some(foreign) or 'nothing'}."
        )
    return dict(state), {}


def _unwrapped(checkpoint: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """A checkpoint, and what is left of it without wrappers of training programs, one by one."""
    yield checkpoint
    for key in _WRAPPERS:
        if isinstance(checkpoint.get(key), Mapping):
            yield from _unwrapped(checkpoint[key])
            return
    for prefix in _PREFIXES:
        if checkpoint and all(str(name).startswith(prefix) for name in checkpoint):
            yield from _unwrapped({name[len(prefix) :]: x for name, x in checkpoint.items()})
            return


def _built(
    kind: type[FusionModel], options: Mapping[str, Any], state: Mapping[str, Tensor], path: Path
) -> FusionModel:
    try:
        model = kind(**options)
    except TypeError as error:
        raise InputError(f"{path} does not fit {kind.card.name}: {error}.") from error
    wanted = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    given = {str(name): tuple(getattr(tensor, "shape", ())) for name, tensor in state.items()}
    problems = {
        "missing": [name for name in wanted if name not in given],
        "unknown": [name for name in given if name not in wanted],
        "of another shape": [
            f"{name} {given[name]} for {shape}"
            for name, shape in wanted.items()
            if name in given and given[name] != shape
        ],
    }
    wrong = [f"{len(names)} {what} ({_some(names)})" for what, names in problems.items() if names]
    if wrong:
        raise InputError(f"{path} does not fit {kind.card.name}: {'; '.join(wrong)}.")
    model.load_state_dict(dict(state))
    return model


def _some(names: list[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")
