"""A data set in which warm objects show in the infrared images only."""

from pathlib import Path

import numpy as np
from PIL import Image

from cddfuse.datasets.labels import Box, write_yolo

SIZE = (48, 64)


def write(folder: Path, count: int = 12, seed: int = 0) -> Path:
    """Pairs with boxes and class maps of `person` (warm) and `lamp` (bright)."""
    rng = np.random.default_rng(seed)
    for side in ("vi", "ir", "labels", "maps"):
        (folder / side).mkdir(parents=True, exist_ok=True)
    for number in range(count):
        visible = rng.integers(20, 90, (*SIZE, 3), dtype=np.uint8)
        infrared = rng.integers(20, 90, SIZE, dtype=np.uint8)
        classes = np.zeros(SIZE, np.uint8)
        boxes = []
        for index in (0, 1):
            left, top = (int(rng.integers(0, side - 18)) for side in reversed(SIZE))
            window = slice(top, top + 16), slice(left, left + 10)
            (infrared, visible)[index][window] = 230
            classes[window] = index + 1
            boxes.append(Box(index, (left, top, left + 10, top + 16)))
        name = f"{number:03}"
        Image.fromarray(visible).save(folder / "vi" / f"{name}.png")
        Image.fromarray(infrared).save(folder / "ir" / f"{name}.png")
        Image.fromarray(classes).save(folder / "maps" / f"{name}.png")
        write_yolo(folder / "labels" / f"{name}.txt", boxes, SIZE)
    (folder / "box_classes.txt").write_text("person\nlamp\n")
    (folder / "map_classes.txt").write_text("ground\nperson\nlamp\n")
    return folder
