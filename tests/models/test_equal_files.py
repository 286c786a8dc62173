"""Equal weights are equal files, so that a hash says whether two runs ended the same."""

import json
from pathlib import Path

import torch
from safetensors import safe_open

from cddfuse.models import create_model, save_weights


def test_the_header_is_in_order(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = create_model("reconet")
    facts = {f"fact {number}": "é\n\"'" * number for number in range(20)}
    for name in ("one", "two"):
        save_weights(model, tmp_path / name, dict(reversed(facts.items())))
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    with safe_open(tmp_path / "one", framework="pt") as opened:
        assert facts.items() <= opened.metadata().items()
        for name, tensor in model.state_dict().items():
            assert torch.equal(opened.get_tensor(name), tensor)
    data = (tmp_path / "one").read_bytes()
    length = int.from_bytes(data[:8], "little")
    assert length % 8 == 0
    assert next(iter(json.loads(data[8 : 8 + length])["__metadata__"])) == "cddfuse.model"
