"""What all tests share."""

import os
import warnings
from pathlib import Path

import pytest
import torch

# One thread: repeatable to the last bit, and fast for images this small. Programs that tests start
# inherit the variable.
os.environ["OMP_NUM_THREADS"] = "1"
torch.set_num_threads(1)


@pytest.fixture(scope="session")
def onnx_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small CDDFuse, exported once for all tests."""
    pytest.importorskip("onnxscript")
    pytest.importorskip("onnxruntime")
    from exporting import shallow

    from cddfuse.export import export
    from cddfuse.export.writers import quiet_exporters

    path = tmp_path_factory.mktemp("exported") / "shallow.onnx"
    with warnings.catch_warnings():
        quiet_exporters()
        export(shallow(), path, facts={"cddfuse.weights": "random"})
    return path
