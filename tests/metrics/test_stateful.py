"""The torchmetrics class: means over any cut into batches and processes, per-image values kept."""

import math

import pytest
import torch
from torch import Tensor

pytest.importorskip("torchmetrics", reason="the extra `metrics` is not installed")

from cddfuse.errors import InputError
from cddfuse.metrics import METRICS, Metric
from cddfuse.metrics.stateful import FusionScores

Triple = tuple[Tensor, Tensor, Tensor]


def test_batches_of_any_size_give_one_mean(batch: Triple) -> None:
    scores = FusionScores(["EN", "SSIM"])
    scores.update(*(image[:1] for image in batch))
    scores.update(*(image[1:] for image in batch))
    result = scores.compute()
    for name in ("EN", "SSIM"):
        each = METRICS[name](*batch)
        torch.testing.assert_close(scores.per_image()[name], each)
        torch.testing.assert_close(result[name], each.mean())


def test_undefined_values_are_counted_not_averaged(batch: Triple) -> None:
    fused, first, second = (image.clone() for image in batch)
    first[1] = 0.5
    scores = FusionScores(["CC"])
    scores.update(fused, first, second)
    result = scores.compute()
    assert result["CC_undefined"] == 1
    assert result["CC"].item() == pytest.approx(
        METRICS["CC"](fused, first, second).nanmean().item()
    )


def test_small_images_are_undefined_for_one_metric_only(batch: Triple) -> None:
    scores = FusionScores(["VIF", "EN"])
    scores.update(*batch)
    scores.update(*(image[:, :, :40] for image in batch))
    result = scores.compute()
    assert result["VIF_undefined"] == 3
    assert result["EN_undefined"] == 0
    torch.testing.assert_close(result["VIF"], METRICS["VIF"](*batch).mean())


def test_own_metrics(batch: Triple) -> None:
    mine = Metric("highest", "Highest level", lambda x: x.amax((1, 2, 3)), over="fused")
    scores = FusionScores([mine, "EN"])
    scores.update(*batch)
    expected = (batch[0].amax((1, 2, 3)) * 255).round()
    torch.testing.assert_close(scores.per_image()["highest"], expected)


def test_forward_gives_the_batch_and_reset_forgets(batch: Triple) -> None:
    scores = FusionScores(["SD"], profile="spreadsheet")
    now = scores(*(image[:1] for image in batch))
    scores(*(image[1:] for image in batch))
    assert not math.isclose(now["SD"].item(), scores.compute()["SD"].item())
    assert len(scores.per_image()["SD"]) == 3
    scores.reset()
    scores.update(*(image[:1] for image in batch))
    torch.testing.assert_close(scores.compute()["SD"], now["SD"])


def test_processes_with_unequal_shares_keep_each_image(batch: Triple) -> None:
    # What the gathering of torchmetrics does with a state of kind "cat", without processes.
    shares = [FusionScores(["MI"]) for _ in range(2)]
    shares[0].update(*(image[:1] for image in batch))
    shares[1].update(*(image[1:] for image in batch))
    gathered = [torch.cat([value for share in shares for value in share.values])]

    def gather(value: Tensor, group: object = None) -> list[Tensor]:
        return gathered

    shares[0].sync(dist_sync_fn=gather, distributed_available=lambda: True)
    torch.testing.assert_close(shares[0].per_image()["MI"], METRICS["MI"](*batch))


def test_unknown_names_are_refused() -> None:
    with pytest.raises(InputError, match="no metric 'nope'"):
        FusionScores(["nope"])
