"""Our scores against a plain transcription of their definitions: `python benchmarks/metrics.py`.

The transcription is what evaluators in use do: SciPy's dense 2-D convolutions, scikit-learn's
mutual information, scikit-image's SSIM, one NumPy expression per line of the definition. Both sides
score the same synthetic triple in the same process, in turns; the table has medians. Needs scipy,
scikit-image and scikit-learn. The number of threads is torch's: set OMP_NUM_THREADS.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.signal import convolve2d
from skimage.metrics import structural_similarity
from sklearn.metrics import mutual_info_score

from cddfuse.metrics import METRICS, levels, score

Image = NDArray[np.float32]


def plain_en(f: Image, a: Image, b: Image) -> float:
    counts = np.bincount(np.uint8(np.round(f)).ravel(), minlength=256)
    p = counts[counts > 0] / f.size
    return float(-(p * np.log2(p)).sum())


def plain_sd(f: Image, a: Image, b: Image) -> float:
    return float(np.std(f))


def plain_sf(f: Image, a: Image, b: Image) -> float:
    return float(np.sqrt(np.mean(np.diff(f, axis=1) ** 2) + np.mean(np.diff(f, axis=0) ** 2)))


def plain_mi(f: Image, a: Image, b: Image) -> float:
    return sum(mutual_info_score(f.ravel(), s.ravel()) for s in (a, b))


def plain_scd(f: Image, a: Image, b: Image) -> float:
    def correlation(x: Image, y: Image) -> float:
        x, y = x - x.mean(), y - y.mean()
        return float((x * y).sum() / np.sqrt((x * x).sum() * (y * y).sum()))

    return correlation(a, f - b) + correlation(b, f - a)


def plain_vif(f: Image, a: Image, b: Image) -> float:
    return _vifp(a, f) + _vifp(b, f)


def _vifp(reference: Image, distorted: Image) -> float:
    ref, dist = np.float64(reference), np.float64(distorted)
    seen = shown = 0.0
    for scale in range(1, 5):
        size = 2 ** (5 - scale) + 1
        ramp = np.arange(size) - size // 2
        window = np.exp(-(ramp[:, None] ** 2 + ramp**2) / (2 * (size / 5) ** 2))
        window /= window.sum()
        if scale > 1:
            ref = convolve2d(ref, np.rot90(window, 2), mode="valid")[::2, ::2]
            dist = convolve2d(dist, np.rot90(window, 2), mode="valid")[::2, ::2]
        mean1 = convolve2d(ref, np.rot90(window, 2), mode="valid")
        mean2 = convolve2d(dist, np.rot90(window, 2), mode="valid")
        var1 = convolve2d(ref * ref, np.rot90(window, 2), mode="valid") - mean1 * mean1
        var2 = convolve2d(dist * dist, np.rot90(window, 2), mode="valid") - mean2 * mean2
        cov = convolve2d(ref * dist, np.rot90(window, 2), mode="valid") - mean1 * mean2
        var1[var1 < 0] = 0
        var2[var2 < 0] = 0
        gain = cov / (var1 + 1e-10)
        noise = var2 - gain * cov
        gain[var1 < 1e-10] = 0
        noise[var1 < 1e-10] = var2[var1 < 1e-10]
        var1[var1 < 1e-10] = 0
        gain[var2 < 1e-10] = 0
        noise[var2 < 1e-10] = 0
        noise[gain < 0] = var2[gain < 0]
        gain[gain < 0] = 0
        noise[noise <= 1e-10] = 1e-10
        seen += np.sum(np.log10(1 + gain * gain * var1 / (noise + 2)))
        shown += np.sum(np.log10(1 + var1 / 2))
    return float(seen / shown)


def plain_qabf(f: Image, a: Image, b: Image) -> float:
    def edges(image: Image) -> tuple[Image, Image]:
        down = np.array([[1, 2, 1], [0, 0, 0], [-1, -2, -1]], np.float32)
        right = np.array([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]], np.float32)
        x, y = (convolve2d(image, kernel, mode="same") for kernel in (right, down))
        angle = np.full_like(x, np.pi / 2)
        angle[x != 0] = np.arctan(y[x != 0] / x[x != 0])
        return np.sqrt(x * x + y * y), angle

    def quality(source: tuple[Image, Image], fused: tuple[Image, Image]) -> Image:
        (gs, angle_s), (gf, angle_f) = source, fused
        ratio = np.where(gs > gf, gf / gs, np.where(gs == gf, gf, gs / gf))
        aligned = 1 - np.abs(angle_s - angle_f) * 2 / np.pi
        strength = 0.9994 / (1 + np.exp(-15 * (ratio - 0.5)))
        return strength * 0.9879 / (1 + np.exp(-22 * (aligned - 0.8)))

    ef, ea, eb = edges(f), edges(a), edges(b)
    with np.errstate(divide="ignore", invalid="ignore"):
        kept = quality(ea, ef) * ea[0] + quality(eb, ef) * eb[0]
    return float(kept.sum() / (ea[0] + eb[0]).sum())


def plain_ssim(f: Image, a: Image, b: Image) -> float:
    values = [structural_similarity(f, s, data_range=2) for s in (a, b)]  # type: ignore[no-untyped-call]
    return float(values[0] + values[1])


PLAIN: dict[str, Callable[[Image, Image, Image], float]] = {
    "EN": plain_en,
    "SD": plain_sd,
    "SF": plain_sf,
    "MI": plain_mi,
    "SCD": plain_scd,
    "VIF": plain_vif,
    "Qabf": plain_qabf,
    "SSIM": plain_ssim,
}


def scene(height: int, width: int) -> tuple[Image, Image, Image]:
    """A fused image and its sources: smooth shapes, edges, grain and flat patches, whole levels."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:height, :width] / max(height, width)
    shapes = 110 + 70 * np.sin(9 * x + 4 * y * y) * np.cos(7 * y)
    warm = 60 + 150 * ((x - 0.4) ** 2 + (y - 0.3) ** 2 < 0.02)
    visible = shapes + 40 * ((20 * x).astype(int) % 2) + rng.normal(0, 6, (height, width))
    infrared = warm + 25 * np.sin(6 * y) + rng.normal(0, 3, (height, width))
    fused = np.maximum(visible, infrared) * 0.9 + 8
    first, second, third = (
        np.clip(image, 0, 255).round().astype(np.float32) for image in (fused, visible, infrared)
    )
    return first, second, third


def milliseconds(work: Callable[[], object]) -> tuple[float, float]:
    """By the clock, and by the processors, which count what other programs take from us less."""
    start, begun = time.perf_counter(), time.process_time()
    work()
    return 1000 * (time.perf_counter() - start), 1000 * (time.process_time() - begun)


def row(name: str, ours: Callable[[], object], plain: Callable[[], object], repeats: int) -> str:
    ours()  # the first call loads kernels
    times = [(*milliseconds(plain), *milliseconds(ours)) for _ in range(repeats)]
    slow, slow_cpu, fast, fast_cpu = map(statistics.median, zip(*times, strict=True))
    clock = f"{slow:12.1f}{fast:12.2f}{slow / fast:10.1f}"
    return f"{name:10}{clock}{slow_cpu:12.1f}{fast_cpu:12.2f}{slow_cpu / fast_cpu:10.1f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, nargs=2, default=(480, 640), metavar=("H", "W"))
    parser.add_argument("--repeats", type=int, default=7)
    arguments = parser.parse_args()
    images = scene(*arguments.size)
    fused, first, second = (torch.from_numpy(image)[None, None] / 255 for image in images)
    on_levels = levels(fused, first, second)
    height, width = arguments.size
    print(f"{height} x {width}, {torch.get_num_threads()} threads, torch {torch.__version__}")
    columns = (f"{'plain ' + unit:>12}{'ours ' + unit:>12}{'ratio':>10}" for unit in ("ms", "cpu"))
    print(f"{'':10}{''.join(columns)}")
    for name, plain in PLAIN.items():
        value, expected = METRICS[name].of(on_levels).item(), plain(*images)
        if abs(value - expected) > 1e-4 * abs(expected):
            raise SystemExit(f"{name}: ours is {value}, the transcription says {expected}")
        ours, theirs = partial(METRICS[name].of, on_levels), partial(plain, *images)
        print(row(name, ours, theirs, arguments.repeats))
    eight = partial(score, fused, first, second)
    print(row("all eight", eight, partial(all_plain, images), arguments.repeats))


def all_plain(images: tuple[Image, Image, Image]) -> list[float]:
    return [plain(*images) for plain in PLAIN.values()]


if __name__ == "__main__":
    main()
