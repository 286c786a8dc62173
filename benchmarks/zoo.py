"""Every stored number of the authors' programs, on whole images: largest differences.

`python -m benchmarks.zoo` needs `shared` beside the repository and some minutes of one core. The
tests compare corners, which takes seconds.
"""

import sys
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from models.test_zoo import CASES, made  # noqa: E402
from zoo import defusion  # noqa: E402

from cddfuse.models import create_model  # noqa: E402
from cddfuse.models.defusion import DeFusion  # noqa: E402

SHARED = ROOT.parent / "shared"
GOLDEN = SHARED / "golden" / "baselines"


def image(levels: np.ndarray) -> Tensor:
    return torch.from_numpy(levels)[None, None] / 255


def report(label: str, found: dict[str, Tensor], stored: dict[str, np.ndarray]) -> None:
    for name, value in found.items():
        expected = torch.from_numpy(stored[name])
        difference = float((value.squeeze() - expected).abs().max())
        largest = float(expected.abs().max())
        print(f"{label:32} {name:20} {difference:.2e}  of {largest:9.3g}", flush=True)


@torch.inference_mode()
def main() -> None:
    for golden, case in CASES:
        weights = SHARED / "official_weights" / f"{golden.weights}.safetensors"
        model = create_model(golden.method, weights, **golden.options)
        stored = dict(np.load(GOLDEN / golden.folder / f"{case}.npz"))
        sources = (image(stored[f"{x}_uint8"]) for x in golden.sources)
        options = ",".join(map(str, golden.options.values()))
        report(f"{golden.weights} {options} {case}", golden.run(model, *sources), stored)
    rfnnest = made("rfnnest")
    for case in ("tno_07", "tno_19"):
        stored = dict(np.load(GOLDEN / "rfnnest_synthetic" / f"{case}.npz"))
        first, second = (rfnnest.encode(image(stored[f"{x}_uint8"])) for x in ("vi", "ir"))
        fused = rfnnest.fused(first, second)
        found = {"out": rfnnest.decoder(fused), "recon_ir": rfnnest.decoder(second)}
        for scale in range(4):
            found[f"enc_ir{scale + 1}_chmean"] = second[scale].mean((2, 3))
            found[f"fused{scale + 1}_chmean"] = fused[scale].mean((2, 3))
        report(f"rfnnest {case}", found, stored)
    for blocks, kind in (((2, 2, 2, 2), "test2222"), ((4, 4, 6, 6), "deep4466")):
        model = DeFusion(blocks).eval()
        model.load_state_dict(DeFusion.convert_checkpoint(defusion(blocks)) or {})
        for case in ("tno_07", "tno_19"):
            stored = dict(np.load(GOLDEN / "defusion_synthetic" / f"{kind}_{case}.npz"))
            sources = (image(stored[f"{x}_uint8"]).expand(-1, 3, -1, -1) for x in ("vi", "ir"))
            padded = (F.pad(source, (16,) * 4, mode="reflect") for source in sources)
            parts = model.decompose(*padded)
            found = {
                "common": model.project(parts.common),
                "lower": model.project(parts.first),
                "upper": model.project(parts.second),
                "fusion": model.join(parts),
            }
            inner = {name: x[..., 16:-16, 16:-16] for name, x in found.items()}
            report(f"defusion {kind} {case}", inner, stored)


if __name__ == "__main__":
    main()
