"""Registers of the Triton kernels, compiled without a GPU: `python -m benchmarks.spills`.

Kernels of which the compiler spills registers to memory are slow; the exit code is 1 if any does.
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from cddfuse.runtime.cddfuse import triton_kernels, triton_layers

SIZES = {
    "norm_expand": {"C": 64, "D": 256},
    "gate_project": {"C": 64, "K": 128, "G": 1},
    "attend_project": {"C": 64},
    "sum_products": {"C": 64},
}
_TOOL = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
_SINGLE = ("products", "squares")  # in single precision, whatever the maps are
_RESIDUAL = ("x", "out", "weight", "bias")


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--targets", nargs="+", type=int, default=[80, 90])
    parser.add_argument("--maps", nargs="+", choices=["bf16", "fp32"], default=["bf16"])
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args(words)
    rows = list(usage(given.targets, given.maps))
    if given.json:
        sys.stdout.write(json.dumps(rows, indent=1) + "\n")
    else:
        sys.stdout.writelines(
            "{kernel}, {maps} onto {residual}, sm_{target}: {registers} registers, {stack} bytes "
            "of stack, {local} local\n".format(**row)
            for row in rows
        )
    return 1 if any(row["stack"] or row["local"] for row in rows) else 0


def usage(targets: Sequence[int], maps: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Registers and bytes of every kernel, for each type of maps and of what residuals add to."""
    for name, sizes in SIZES.items():
        kernel = getattr(triton_kernels, name)
        for wide in maps:
            for residual in {wide, "fp32"} if set(_RESIDUAL) & set(kernel.arg_names) else {wide}:
                for target in targets:
                    compiled = _compiled(
                        kernel, sizes | triton_layers.BLOCKS[name], wide, residual, target
                    )
                    facts = {"kernel": name, "maps": wide, "residual": residual, "target": target}
                    yield facts | _resources(compiled.asm["cubin"])


def _compiled(kernel: Any, sizes: dict[str, int], wide: str, residual: str, target: int) -> Any:
    options = {name: value for name, value in sizes.items() if name not in kernel.arg_names}
    constants = {name: value for name, value in sizes.items() if name in kernel.arg_names}
    signature = {name: _type(name, wide, residual, constants) for name in kernel.arg_names}
    aligned = {
        (place,): [["tt.divisibility", 16]]
        for place, kind in enumerate(signature.values())
        if kind.startswith("*")
    }
    source = ASTSource(kernel, signature, constants, aligned)
    return triton.compile(source, target=GPUTarget("cuda", target, 32), options=options)


def _type(name: str, wide: str, residual: str, constants: dict[str, int]) -> str:
    if name in constants:
        return "constexpr"
    if name in ("pixels", "height", "width", "share"):
        return "i32"
    if name == "epsilon":
        return "fp32"
    return f"*{'fp32' if name in _SINGLE else residual if name in _RESIDUAL else wide}"


def _resources(cubin: bytes) -> dict[str, int]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "kernel.cubin"
        path.write_bytes(cubin)
        command = [str(_TOOL), "--dump-resource-usage", str(path)]
        text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    found = {name: int(value) for name, value in re.findall(r"\b([A-Z]+):(\d+)", text)}
    names = {"registers": "REG", "stack": "STACK", "local": "LOCAL", "shared": "SHARED"}
    return {name: found[key] for name, key in names.items()}


if __name__ == "__main__":
    sys.exit(main())
