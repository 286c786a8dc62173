from pathlib import Path

from cddfuse.evaluate.provenance import hash_weights
from cddfuse.models import create_model


def test_weights_beside_an_exported_file_count(tmp_path: Path) -> None:
    """OpenVINO writes a graph, which is the same for all weights, and the weights beside it."""
    network, graph, weights = create_model("mean"), tmp_path / "net.xml", tmp_path / "net.bin"
    graph.write_bytes(b"graph")
    hashes = set()
    for content in (b"one", b"other"):
        weights.write_bytes(content)
        hashes.add(hash_weights(network, str(graph)))
    weights.unlink()
    hashes.add(hash_weights(network, str(graph)))
    assert len(hashes) == 3
