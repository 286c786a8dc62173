"""Distillation: a teacher is asked once for each crop, and the student comes to resemble it."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor
from training import random_pairs

from cddfuse.datasets.crops import Crops
from cddfuse.errors import InputError
from cddfuse.models import create_model, save_weights
from cddfuse.models.cddfuse_small import CDDFuseSmall, Scene, Tone
from cddfuse.models.classical import Max
from cddfuse.pair import ImagePair
from cddfuse.recipes import RECIPES
from cddfuse.recipes.cddfuse_small import CDDFuseSmallRecipe, differences, distil
from cddfuse.recipes.memory import Memory
from cddfuse.recipes.teacher import Teacher
from cddfuse.train import Running, batches, train


class Counting(Max):
    """Counts how often it fuses."""

    asked = 0

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """Fuse."""
        self.asked += 1
        return super().forward(first, second)


def asked(teacher: Teacher) -> int:
    assert isinstance(teacher.model, Counting)
    return teacher.model.asked


@pytest.fixture
def teacher(tmp_path: Path) -> Teacher:
    return Teacher(Counting(), tmp_path / "images")


def images(*shape: int) -> tuple[Tensor, Tensor]:
    random = torch.Generator().manual_seed(4)
    return torch.rand(shape, generator=random), torch.rand(shape, generator=random)


def test_a_teacher_is_asked_once_for_each_pair(teacher: Teacher) -> None:
    first, second = images(3, 1, 8, 12)
    wanted = torch.maximum(first, second)
    for _ in range(2):
        torch.testing.assert_close(teacher(first, second), wanted, rtol=0, atol=2**-16)
    again = Teacher(Counting(), teacher.folder)
    torch.testing.assert_close(again(first, second), wanted, rtol=0, atol=2**-16)
    assert (asked(teacher), asked(again)) == (3, 0)
    again(second, first)  # the other way round is another pair
    assert asked(again) == 3


@pytest.mark.parametrize("damage", ["empty", "cut", "other size"])
def test_a_damaged_image_is_made_again(teacher: Teacher, damage: str) -> None:
    first, second = images(1, 1, 8, 12)
    teacher(first, second)
    (path,) = teacher.folder.iterdir()
    content = path.read_bytes()
    path.write_bytes(b"" if damage == "empty" else content[:100])
    if damage == "other size":
        np.save(path, np.zeros((1, 2, 2), np.uint16))
    fused = teacher(first, second)
    torch.testing.assert_close(fused, torch.maximum(first, second), rtol=0, atol=2**-16)
    assert asked(teacher) == 2
    assert path.read_bytes() == content


def test_teachers_with_other_weights_keep_their_images_apart() -> None:
    torch.manual_seed(0)
    one, two = Teacher(create_model("sdnet")), Teacher(create_model("sdnet"))
    assert one.folder != two.folder
    assert one.folder == Teacher(one.model).folder


def test_teachers_with_other_options_keep_their_images_apart() -> None:
    torch.manual_seed(0)
    one, two = create_model("sdnet", leading="first"), create_model("sdnet", leading="second")
    two.load_state_dict(one.state_dict())
    assert Teacher(one).folder != Teacher(two).folder


def test_the_teacher_is_found_from_anywhere_and_before_the_run_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    save_weights(create_model("sdnet"), tmp_path / "mine.safetensors")
    recipe = CDDFuseSmallRecipe(teacher="sdnet", teacher_weights="mine.safetensors", batch=2)
    assert recipe.teacher_weights == str(tmp_path / "mine.safetensors")
    missing = replace(recipe, teacher_weights="other.safetensors")
    with pytest.raises(InputError, match="there are no weights other") as caught:
        train(missing, batches(missing, random_pairs(2, 128)), tmp_path / "run", quiet=True)
    assert "teacher_weights" in (caught.value.setting or ())
    assert not (tmp_path / "run").exists()


def test_a_run_does_not_go_on_with_another_teacher(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    weights = tmp_path / "mine.safetensors"
    save_weights(create_model("sdnet"), weights)
    recipe = CDDFuseSmallRecipe(
        teacher="sdnet", teacher_weights=str(weights), crop=16, batch=2, steps=2, min_contrast=0
    )
    data = batches(recipe, random_pairs(2))
    train(
        recipe,
        data,
        tmp_path / "run",
        quiet=True,
        running=Running(accelerator="cpu", stop_after=1e-9),
    )
    save_weights(create_model("sdnet"), weights)
    with pytest.raises(InputError, match="the teacher has changed since the run began"):
        train(recipe, data, tmp_path / "run", quiet=True, resume=True)


def test_a_run_whose_teacher_cannot_keep_its_images_is_saved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    recipe = CDDFuseSmallRecipe(teacher="max", crop=16, batch=2, steps=2, min_contrast=0)
    data, running = batches(recipe, random_pairs(2)), Running(accelerator="cpu")
    with pytest.raises(InputError, match=r"for the cache \(XDG_CACHE_HOME\); the run is saved at"):
        train(recipe, data, tmp_path / "run", quiet=True, running=running)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    train(recipe, data, tmp_path / "run", quiet=True, running=running, resume=True)


def test_batches_recur_after_a_cycle() -> None:
    settings = {"size": 16, "batch": 2, "flips": True, "jitter": 0.2, "seed": 3}
    crops = Crops(random_pairs(5, 24), cycle=3, **settings)  # type: ignore[arg-type]
    endless = Crops(random_pairs(5, 24), **settings)  # type: ignore[arg-type]
    for step in range(6):
        assert torch.equal(crops.batch(step).first, endless.batch(step).first)
        assert torch.equal(crops.batch(step + 6).first, crops.batch(step).first)
        assert not torch.equal(endless.batch(step + 6).first, endless.batch(step).first)


def test_terms_vanish_for_the_teachers_own_image(teacher: Teacher) -> None:
    first, second = images(2, 1, 16, 16)
    wanted = teacher(first, second)

    class Parrot(CDDFuseSmall):
        def forward(self, first: Tensor, second: Tensor) -> Tensor:
            return wanted

    terms = distil(Parrot(), ImagePair(first, second), teacher, "second")
    assert [float(terms[name]()) for name in ("image", "gradient", "ssim")] == pytest.approx(
        [0, 0, 0], abs=1e-6
    )
    flat = torch.full_like(wanted, 0.5)
    slope = flat + torch.arange(16) / 100
    assert float(differences(slope, flat)) == pytest.approx(0.01)


def test_the_student_comes_to_resemble_its_teacher(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    quick = RECIPES["cddfuse_small"]["quick"]
    assert isinstance(quick, CDDFuseSmallRecipe)
    recipe = replace(quick, teacher="max", crop=32, minutes=0, steps=120, ema=0)
    *pairs, other = random_pairs(5, 40)
    running = Running(accelerator="cpu")
    outcome = train(recipe, batches(recipe, pairs), tmp_path / "run", running=running, quiet=True)
    first, second = other.first[None], other.second[None]
    wanted = torch.maximum(first, second)
    torch.manual_seed(recipe.seed)
    before = recipe.create_model().eval()(first, second)
    after = outcome.model(first, second)
    assert len(list((tmp_path / "cddfuse/teachers").glob("*/*.npy"))) == 4 * 2  # two epochs
    assert (after - wanted).abs().mean() < (before - wanted).abs().mean() / 2


def decided(tone: Tone) -> Tone:
    """A tone other than the mean of both."""
    for parameter in tone.decide.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return tone


def test_a_memory_knows_how_near_a_tone_comes() -> None:
    torch.manual_seed(0)
    tone = decided(Tone(16))
    memory = Memory(tone, 3)
    batches = torch.rand(2, 3, 2, 1, 16, 24)  # of two batches, both images and the teacher's
    for first, second, wanted in batches:
        memory.keep(tone, first, second, wanted)
    first, second, wanted = batches.transpose(0, 1).flatten(1, 2)[:, [3, 1, 2]]  # 0 is forgotten
    with torch.no_grad():
        squares = (tone(first, second) - wanted).square().mean((1, 2, 3))
        known = memory.squares(tone.decide(memory.seen), torch.arange(3))
        torch.testing.assert_close(known, squares)
        assert int(memory.count) == 4
        mean = squares.sqrt().mean()
        assert memory.error(tone, 3000) == pytest.approx(float(mean), rel=0.01)
        assert memory.error(tone, 7) == memory.error(tone, 7) != memory.error(tone, 7, noise=0.5)


def test_a_tone_that_learns_alone_learns_from_its_own_term_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    recipe = CDDFuseSmallRecipe(teacher="max", tone_alone=1, contrast=1)
    model = CDDFuseSmall()
    recipe.prepare(model)
    first, second = images(2, 1, 16, 16)
    (stage,) = recipe.stages()
    for name, learns in (("image", False), ("contrast", False), ("tone_alone", True)):
        model.zero_grad(set_to_none=True)
        stage.terms(model, ImagePair(first, second))[name]().backward()
        learned = {n.split(".")[0] for n, p in model.named_parameters() if p.grad is not None}
        assert ("tone" in learned, "project" in learned) == (learns, not learns)
    memory = model.get_submodule("memory")
    assert int(memory.count) == 2  # type: ignore[arg-type]
    model.eval()
    error = stage.terms(model, ImagePair(first, second))["tone_alone"]()
    assert model.tone
    expected = (model.tone(first, second) - torch.maximum(first, second)).square().mean().sqrt()
    torch.testing.assert_close(error, expected)
    assert int(memory.count) == 2  # type: ignore[arg-type]
    assert "tone_alone" not in replace(recipe, tone_alone=0).stages()[0].weights


def test_what_a_tone_remembers_outlives_a_pause_but_is_not_shipped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    recipe = CDDFuseSmallRecipe(
        teacher="max",
        crop=16,
        batch=2,
        steps=6,
        tone_alone=1,
        tone_crops=7,
        tone_noise=0.1,
        min_contrast=0,
        learning_rate=1e-3,
    )
    data, running = batches(recipe, random_pairs(4)), Running(accelerator="cpu")
    whole = train(recipe, data, tmp_path / "whole", quiet=True, running=running)
    pause = replace(running, stop_after=1e-9)  # after each step
    for step in range(6):
        parts = train(recipe, data, tmp_path / "run", quiet=True, running=pause, resume=step > 0)
    assert int(parts.model.get_submodule("memory").count) == 12  # type: ignore[arg-type]
    for name, value in whole.model.state_dict().items():
        assert torch.equal(value, parts.model.state_dict()[name]), name
    shipped = load_file(tmp_path / "run/weights.safetensors")
    assert not [name for name in shipped if "memory" in name]
    assert "tone.decide.0.weight" in shipped


def test_contrast_is_that_of_the_image_and_of_its_details(teacher: Teacher) -> None:
    first, second = images(2, 1, 16, 20)
    wanted = teacher(first, second)
    shown = first.cumsum(3) / 20  # of other contrast, and smoother along rows

    class Other(CDDFuseSmall):
        def forward(self, first: Tensor, second: Tensor) -> Tensor:
            return shown

    found = distil(Other(), ImagePair(first, second), teacher, "second")["contrast"]()
    expected = []
    for one, other in zip(shown[:, 0].double().numpy(), wanted[:, 0].double().numpy(), strict=True):
        for measure in (lambda x: x.std(ddof=1), frequency):
            expected.append(abs(np.log(measure(one) / measure(other))))
    assert float(found) == pytest.approx(np.mean(expected), rel=1e-3)


def frequency(image: NDArray[np.float64]) -> float:
    across, along = (float(np.square(np.diff(image, axis=axis)).mean()) for axis in (0, 1))
    return np.sqrt(across + along)


def test_only_a_tone_can_learn_alone() -> None:
    with pytest.raises(InputError, match="tone_alone needs a tone"):
        CDDFuseSmallRecipe(tone=0, tone_alone=1)


@pytest.mark.parametrize("task", ["ivf", "mif"])
def test_no_layer_of_the_shipped_networks_is_dead(task: str) -> None:
    # Units whose result is 0 for all pixels tell nothing and learn nothing.
    model = create_model("cddfuse_small", task)
    first, second = (
        F.interpolate(image, scale_factor=8, mode="bicubic").clamp(0, 1)
        for image in images(1, 1, 12, 12)
    )
    first = (first + 0.1 * torch.rand_like(first)).clamp(0, 1)
    alive: dict[str, float] = {}

    def note(name: str, result: Tensor) -> None:
        alive[name] = float((result.relu().amax((0, 2, 3)) > 0).float().mean())

    hooks = [
        layer.register_forward_hook(lambda _, __, result, name=name: note(name, result))
        for name, layer in model.named_modules()
        if isinstance(layer, torch.nn.Conv2d)
    ]
    model(first, second)
    assert len(hooks) == len(alive) == 12
    assert min(alive.values()) >= 0.25, alive


def test_a_teacher_that_does_not_exist_is_refused() -> None:
    with pytest.raises(InputError, match="there is no network nobody: known are cddfuse, "):
        CDDFuseSmallRecipe(teacher="nobody")


def test_a_scene_is_seen_by_means_and_covariances_over_the_image() -> None:
    features = torch.rand(2, 3, 5, 7, generator=torch.Generator().manual_seed(1))
    scene = Scene(3, 9).requires_grad_(False)
    scene.squeeze.weight.copy_(torch.eye(9))
    scene.squeeze.bias.fill_(1)  # all of it positive, so nothing is cut off
    for each, seen in zip(features, scene(features) - 1, strict=True):
        pixels = each.flatten(1)
        covariance = torch.cov(pixels, correction=0)
        upper = covariance[tuple(torch.triu_indices(3, 3))]
        torch.testing.assert_close(seen, torch.cat([pixels.mean(1), upper]))


def test_a_tone_is_one_polynomial_of_both_values_for_the_whole_image() -> None:
    torch.manual_seed(0)
    tone = Tone(16)
    last = tone.decide[-1]
    assert isinstance(last, torch.nn.Linear)
    torch.nn.init.normal_(last.bias, std=0.3)  # other than the mean of both
    first, second = images(2, 1, 32, 48)
    fused = tone(first, second).detach()
    powers = [first**i * second**j for i in range(5) for j in range(5 - i)]
    columns = torch.stack(powers, -1).double()
    for image, values in zip(fused.double(), columns, strict=True):
        found = torch.linalg.lstsq(values.flatten(0, 2), image.flatten()[:, None]).solution
        torch.testing.assert_close(values @ found[:, 0], image, rtol=0, atol=3e-5)
    mean = (first + second) / 2
    assert (fused - mean).abs().max() > 0.1
    for index, shown in enumerate(fused.split(1)):  # each pair has a tone of its own
        alone = tone(first[index : index + 1], second[index : index + 1])
        torch.testing.assert_close(alone, shown)


def test_a_tone_is_decided_by_what_the_whole_pair_looks_like() -> None:
    tone = Tone(16)
    first, second = images(1, 1, 32, 32)
    seen = tone.seen(first, second)[0]
    assert seen.shape == (50,)
    turned = tone.seen(first.flip(-1).flip(-2), second.flip(-1).flip(-2))[0]
    torch.testing.assert_close(seen, turned)  # where things are does not count
    assert not torch.allclose(seen, tone.seen(second, first)[0], atol=1e-2)
    torch.testing.assert_close(seen[:2] / 5, torch.stack([first.mean(), second.mean()]))
    bands = seen[2:14].view(4, 3)  # three octaves, and what is below
    deviations = bands[:, :2] / torch.tensor([64.0, 64, 64, 16])[:, None]
    expected = torch.stack([first.var(correction=0), second.var(correction=0)])
    torch.testing.assert_close(deviations.square().sum(0), expected, rtol=1e-4, atol=1e-6)
    alike = tone.seen(first, first)[0, 2:14].view(4, 3)[:, 2]
    torch.testing.assert_close(alike, torch.full((4,), 4.0), rtol=0, atol=4e-3)
    assert tone(torch.zeros(1, 1, 8, 8), torch.ones(1, 1, 8, 8)).isfinite().all()


def test_a_tone_sees_how_much_contrast_there_is_at_each_level() -> None:
    # Two of six levels: 0.2 without contrast, and 0.8, where neighbours differ by 0.1.
    first = torch.full((1, 1, 32, 32), 0.2)
    first[..., 16:, :] = 0.75
    first[..., 16:, ::2] += 0.1
    second = torch.full_like(first, 0.4)
    second[..., :8, ::2] += 0.02
    second[..., :8, 1::2] -= 0.02
    seen = Tone(16).seen(first, second)[0]
    histograms = (seen[14:26] / 4).square().view(2, 6)
    assert histograms[0] == pytest.approx([0, 0.5, 0, 0, 0.5, 0], abs=1e-4)
    assert histograms[1] == pytest.approx([0, 0, 1, 0, 0, 0], abs=1e-4)
    contrasts = seen[26:].view(2, 6, 2) / 56  # by levels of each image, of each image
    assert contrasts[0, 1] == pytest.approx([0.001, 0.02 / 2**0.5], rel=0.01)
    assert contrasts[0, 4] == pytest.approx([0.05, 0.001], rel=0.01)
    assert contrasts[1, 2] == pytest.approx([0.05 / 2**0.5, 0.01], rel=0.01)


def test_statistics_of_a_large_image_are_exact() -> None:
    """Of contrasts that are differences of almost equal moments."""
    tone, ramp = Tone(16), torch.linspace(0, 1, 2000)
    noise = torch.randn(1, 1, 1500, 2000, generator=torch.Generator().manual_seed(0))
    first = (ramp + 0.005 * noise).clamp(0, 1)
    exact = tone.double().seen(first.double(), first.flip(3).double())
    torch.testing.assert_close(
        tone.float().seen(first, first.flip(3)), exact.float(), atol=0.02, rtol=0
    )


def test_a_tone_is_as_exact_under_mixed_precision_and_on_any_machine() -> None:
    torch.manual_seed(0)
    tone = Tone(16)
    torch.nn.init.normal_(tone.decide[-1].bias, std=0.3)  # type: ignore[arg-type]
    first, second = images(1, 1, 32, 48)
    with torch.autocast("cpu", torch.bfloat16):
        mixed = tone(first, second)
    torch.testing.assert_close(mixed, tone(first, second))
    # Weights hold only for these polynomials, whose signs a QR is free to choose.
    corners = [float(tone._whiten[n].sum()) for n in range(4)]
    assert corners == pytest.approx([-1, 1.68034, -2.04158, -2.20517], rel=1e-3)


def test_weights_without_a_tone_load_by_their_path(tmp_path: Path) -> None:
    old = CDDFuseSmall(tone=0)
    save_weights(old, tmp_path / "old.safetensors", {})
    with safe_open(tmp_path / "old.safetensors", "pt") as file:
        header = file.metadata()
    tensors = load_file(tmp_path / "old.safetensors")
    options = json.loads(header["cddfuse.options"])
    del options["tone"]  # of a version that did not know the option
    header["cddfuse.options"] = json.dumps(options)
    save_file(tensors, tmp_path / "older.safetensors", header)
    model = create_model("cddfuse_small", tmp_path / "older.safetensors")
    assert isinstance(model, CDDFuseSmall)
    assert model.tone is None


@pytest.mark.parametrize("tone", [0, 56])
def test_weights_for_sources_from_0_to_1_still_fuse(tmp_path: Path, tone: int) -> None:
    torch.manual_seed(0)
    new = CDDFuseSmall(tone=tone).eval()
    for parameter in new.project.parameters():
        torch.nn.init.normal_(parameter, std=0.05)
    save_weights(new, tmp_path / "new.safetensors", {})
    with safe_open(tmp_path / "new.safetensors", "pt") as file:
        header = file.metadata()
    tensors = load_file(tmp_path / "new.safetensors")
    weight, bias = tensors.pop("embed.weight"), tensors.pop("embed.bias")
    tensors["lift.weight"] = 2 * weight  # of x, what `weight` is of 2 x - 1
    tensors["lift.bias"] = bias - weight.sum((1, 2, 3))
    save_file(tensors, tmp_path / "old.safetensors", header)
    old = create_model("cddfuse_small", tmp_path / "old.safetensors")
    torch.testing.assert_close(old(*images(1, 1, 32, 32)), new(*images(1, 1, 32, 32)))


def test_what_is_bright_in_both_images_stays_bright() -> None:
    levels = torch.linspace(0, 1, 16)
    first = levels.expand(1, 1, 16, 16)
    second = first.transpose(2, 3)
    torch.manual_seed(0)
    model = CDDFuseSmall().eval()
    assert model.project.bias is not None
    torch.nn.init.constant_(model.project.bias, -0.9)  # far too dark
    fused, lower = model(first, second), torch.minimum(first, second)
    bright, dark = lower >= 0.75, lower <= 0.5
    torch.testing.assert_close(fused[bright], lower[bright])
    without = model.train()(first, second).clamp(0, 1)
    torch.testing.assert_close(fused[dark], without[dark])
    model.keep_bright = False
    torch.testing.assert_close(model.eval()(first, second), without)
    model.keep_bright = True
    assert (without[bright] < lower[bright] - 0.3).any()
    assert model.eval()(first, first).diff(dim=3).abs().max() < 0.25  # no step between


def test_black_in_both_images_can_be_kept_black() -> None:
    first, second = (image + 1 / 255 for image in images(1, 1, 16, 16))
    first[..., :8, :], second[..., 3:, :] = 0, 0
    first[..., 5, 5], second[..., 6, 6] = 1 / 255, 0.4 / 255
    share = (first + second > 0).float()  # of each pixel, what it keeps
    share[..., 6, 6] = 0.4
    fused = []
    for keeps in (False, True):
        torch.manual_seed(0)
        model = CDDFuseSmall(tone=0, keep_black=keeps).train()  # what is above 1 is not cut off
        assert model.project.bias is not None
        torch.nn.init.constant_(model.project.bias, 1)  # above black everywhere
        fused.append(model(first, second).detach())
    assert (fused[0] > 0.1).all()
    torch.testing.assert_close(fused[1], fused[0] * share)
