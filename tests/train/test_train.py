"""Runs that finish, stop, go on, go wrong, and are shared out."""

import csv
import math
import re
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from subprocess import Popen
from typing import Any, cast

import pytest
import torch
from lightning_fabric import Fabric
from matplotlib.figure import Figure
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor
from training import command, random_pairs, small, write_pairs

from cddfuse import InputError, create_model, losses
from cddfuse.cli import run as cli
from cddfuse.datasets.crops import WHOLE, Share
from cddfuse.losses import LOSSES, Loss
from cddfuse.models import FusionModel
from cddfuse.pair import ImagePair
from cddfuse.recipes import RECIPES, Stage
from cddfuse.recipes.base import Term
from cddfuse.recipes.cddfuse import CDDFuseRecipe
from cddfuse.recipes.cddfuse_small import CDDFuseSmallRecipe
from cddfuse.train import BEST, STATE, WEIGHTS, Precision, Running, batches, train
from cddfuse.train.log import TrainingLog
from cddfuse.train.trainer import Trainer
from cddfuse.train.validation import Validation

if sys.platform != "win32":
    KILL = signal.SIGKILL
else:
    KILL = signal.SIGTERM  # ends a process there without asking it

PAIRS = random_pairs(4)


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "log.csv").open() as file:
        return list(csv.DictReader(file))


def run(folder: Path, recipe: CDDFuseRecipe | None = None, **options: object) -> Path:
    recipe = recipe or small()
    train(recipe, batches(recipe, PAIRS), folder, quiet=True, **options)  # type: ignore[arg-type]
    return folder


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nothing disturbed."""
    folder = tmp_path_factory.mktemp("whole")
    return run(folder, validation=PAIRS[:2], facts={"data": "random"})


def assert_same_weights(one: Path, two: Path) -> None:
    first, second = load_file(one / WEIGHTS), load_file(two / WEIGHTS)
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_a_run_leaves_what_there_is_to_look_at(whole: Path) -> None:
    left = {path.name for path in whole.iterdir()}
    assert {STATE, WEIGHTS, BEST, "log.csv", "curves.png", "tensorboard", "validation"} <= left
    assert (whole / "validation" / "step-000006.png").stat().st_size > 1000
    assert any((whole / "tensorboard").iterdir())


def test_the_log_has_every_step_and_the_scores(whole: Path) -> None:
    steps = [row for row in rows(whole) if row["total"]]
    assert [(row["step"], row["stage"]) for row in steps] == [
        *((str(step), "separate") for step in (1, 2, 3)),
        *((str(step), "fuse") for step in (4, 5, 6)),
    ]
    assert all(row["norm_base_fusion"] for row in steps[3:])
    looked = [row for row in rows(whole) if row["validation_total"]]
    assert [row["step"] for row in looked] == ["6"]
    assert 0 < float(looked[0]["validation_EN"]) < 8
    assert "validation_VIF" not in looked[0]  # which needs 41 pixels


def test_weights_carry_facts_and_load(whole: Path) -> None:
    with safe_open(whole / WEIGHTS, "pt") as file:
        header = file.metadata()
    assert header["data"] == "random"
    assert header["cddfuse.step"] == "6 of 6"
    assert header["cddfuse.computed"].startswith("32-true on ")
    model = create_model("cddfuse", whole / WEIGHTS)
    assert all(torch.equal(model.state_dict()[k], v) for k, v in load_file(whole / WEIGHTS).items())


def test_a_run_killed_in_its_last_look_has_its_weights(
    tmp_path: Path, whole: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("cddfuse.train.validation.Validation.losses", killed)
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path, validation=PAIRS[:2])
    assert_same_weights(tmp_path, whole)
    run(tmp_path, validation=PAIRS[:2], resume=True)
    assert_same_weights(tmp_path, whole)
    assert (tmp_path / BEST).is_file()


def test_a_run_learns(tmp_path: Path) -> None:
    run(tmp_path, small(steps=40, flips=False, sampling="grid", stride=16, batch=4))
    totals = [(row["stage"], float(row["total"])) for row in rows(tmp_path) if row["total"]]
    for stage in ("separate", "fuse"):
        of_stage = [loss for name, loss in totals if name == stage]
        assert min(of_stage[-3:]) < 0.8 * of_stage[0]


@pytest.mark.parametrize("stop", [2, 3, 5])
def test_a_stopped_run_goes_on_bit_for_bit(tmp_path: Path, whole: Path, stop: int) -> None:
    recipe = small()
    data = batches(recipe, PAIRS)

    class UntilThen:
        steps_per_epoch = data.steps_per_epoch

        def batch(self, step: int, share: Share = WHOLE) -> ImagePair:
            if step == stop:
                raise RuntimeError("as if the power failed")
            return data.batch(step, share)

    with pytest.raises(RuntimeError, match="power"):
        train(recipe, UntilThen(), tmp_path, running=Running(save_every=0), quiet=True)
    run(tmp_path, resume=True)
    assert_same_weights(tmp_path, whole)
    assert [row["step"] for row in rows(tmp_path)] == [str(step) for step in range(1, 7)]


def test_the_running_average_goes_on_too(tmp_path: Path) -> None:
    recipe = small(ema=0.5)
    one = run(tmp_path / "one", recipe)
    two = run(tmp_path / "two", recipe, running=Running(stop_after=1e-9))
    assert torch.load(two / STATE, weights_only=True)["progress"]["step"] == 1
    run(two, recipe, resume=True)
    assert_same_weights(one, two)
    last, kept = torch.load(one / STATE, weights_only=True)["objective"], load_file(one / WEIGHTS)
    assert any(not torch.equal(last[f"model.{name}"], value) for name, value in kept.items())


FLAGS = [
    *("--crop", "16", "--batch", "2", "--epochs", "1", "1", "--steps", "8"),
    *("--warmup", "2", "--val-share", "0"),
]


@pytest.fixture(scope="module")
def on_disk(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """Two folders of pairs, and a run over them that nothing disturbed."""
    root = tmp_path_factory.mktemp("on disk")
    first, second = write_pairs(root)
    assert cli(["train", *map(str, (first, second, "-o", root / "run", *FLAGS, "--quiet"))]) == 0
    return first, second, root / "run"


def wait_for_step(program: "Popen[str]", folder: Path, step: int) -> None:
    while program.poll() is None:
        if (folder / STATE).is_file():
            state = torch.load(folder / STATE, weights_only=True)
            if state["progress"]["step"] >= step:
                return
        time.sleep(0.02)
    pytest.fail(f"the run ended before step {step}: {program.communicate()[1]}")


@pytest.mark.parametrize(
    ("number", "step", "code"),
    [
        pytest.param(KILL, 2, -KILL, id="killed in stage one"),
        pytest.param(KILL, 5, -KILL, id="killed in stage two"),
        pytest.param(signal.SIGINT, 2, 130, id="Ctrl-C"),
    ],
)
def test_a_program_that_was_stopped_goes_on(
    tmp_path: Path,
    on_disk: tuple[Path, Path, Path],
    number: signal.Signals,
    step: int,
    code: int,
) -> None:
    first, second, whole = on_disk
    program = command(["train", first, second, "-o", tmp_path, *FLAGS, "--save-every", 0])
    wait_for_step(program, tmp_path, step)
    program.send_signal(number)
    said = program.communicate(timeout=120)[1]
    assert program.returncode == code
    if number == signal.SIGINT:
        assert f"cddfuse train -o {tmp_path} --resume" in said
    assert cli(["train", "-o", str(tmp_path), "--resume", "--quiet"]) == 0
    assert_same_weights(tmp_path, whole)


def test_two_processes_compute_what_one_does(
    tmp_path: Path, on_disk: tuple[Path, Path, Path]
) -> None:
    first, second, _ = on_disk
    flags = [*FLAGS[:2], "--batch", 4, "--steps", 4, *FLAGS[-2:], "--accelerator", "cpu"]
    for devices in (1, 2):
        folder, count = tmp_path / str(devices), ["--devices", devices]
        program = command(["train", first, second, "-o", folder, *flags, *count])
        said = program.communicate(timeout=300)[1]
        assert program.returncode == 0, said
    # What two processes have written, one can resume, and they what one has.
    assert cli(["train", "-o", str(tmp_path / "2"), "--resume", "--quiet"]) == 0
    for one, two in zip(rows(tmp_path / "1"), rows(tmp_path / "2"), strict=True):
        for name in ("total", "decomposition", "correlation_base", "norm_encoder", "norm_decoder"):
            assert float(two[name]) == pytest.approx(float(one[name]), rel=2e-3)


def test_two_processes_say_once_what_is_wrong_with_the_data(tmp_path: Path) -> None:
    nowhere, flags = tmp_path / "nowhere", ["--accelerator", "cpu", "--devices", 2]
    program = command(["train", nowhere, "-o", tmp_path / "run", *flags])
    said = program.communicate(timeout=120)[1]
    assert program.returncode == 2
    assert said.count(f"there is no folder {nowhere}") == 1
    assert "Traceback" not in said


class Broken(CDDFuseRecipe):
    """A recipe whose loss is not a number at some steps."""

    bad: Callable[[int], bool]

    def stages(self) -> tuple[Stage, ...]:
        calls = iter(range(10**6))

        def terms(model: FusionModel, pair: ImagePair) -> dict[str, Term]:
            loss = model(pair.first, pair.second).mean()
            value = loss * math.nan if self.bad(next(calls)) else loss
            return {"loss": lambda: value}

        return (Stage("only", 1, ("encoder", "decoder"), terms, {"loss": 1.0}),)


def broken(bad: Callable[[int], bool], steps: int) -> Broken:
    recipe = Broken(**vars(small(steps=steps)))
    object.__setattr__(recipe, "bad", bad)
    return recipe


def test_a_step_without_a_number_is_left_out(tmp_path: Path) -> None:
    recipe = broken(lambda call: call == 1, steps=3)
    outcome = train(recipe, batches(recipe, PAIRS), tmp_path, quiet=True)
    assert outcome.skipped == 1
    assert all(torch.isfinite(weight).all() for weight in outcome.model.state_dict().values())
    assert [row["step"] for row in rows(tmp_path)] == ["1", "3"]


def test_many_of_them_end_the_run_with_the_last_good_state(tmp_path: Path) -> None:
    recipe = broken(lambda call: call >= 2, steps=30)
    with pytest.raises(
        InputError, match=r"20 steps in a row .*weights\.safetensors.*lower learning rate"
    ):
        train(recipe, batches(recipe, PAIRS), tmp_path, running=Running(save_every=0), quiet=True)
    state = torch.load(tmp_path / STATE, weights_only=True)
    assert state["progress"]["step"] == 2
    assert (tmp_path / WEIGHTS).is_file()


def trainer(recipe: CDDFuseRecipe, half: bool = False, compiled: bool = False) -> Trainer:
    fabric = Fabric(accelerator="cpu", devices=1)
    torch.manual_seed(0)
    return Trainer(recipe, recipe.create_model(), fabric, half=half, compiled=compiled)


def test_fusion_layers_start_their_schedule_with_their_stage() -> None:
    recipe = small(schedule="step", lr_step=2, epochs=(4, 4), warmup=0, min_lr=1e-6)
    subject = trainer(recipe)
    subject.progress.plan = (4, 4)
    seen = []
    for step in range(8):
        subject.progress.step = step
        subject._set_learning_rates()
        rates = {group["name"]: group["lr"] / 5e-4 for group in subject.optimizer.param_groups}
        seen.append((rates["encoder"], rates["base_fusion"]))
    encoder, fusion = zip(*seen, strict=True)
    assert encoder == pytest.approx([1, 1, 0.5, 0.5, 0.25, 0.25, 0.125, 0.125])
    assert fusion[4:] == pytest.approx([1, 1, 0.5, 0.5])


def test_the_learning_rate_of_the_log_is_of_parts_that_learn() -> None:
    recipe = small(schedule="step", lr_step=1, epochs=(2, 2), warmup=0)
    subject = trainer(recipe)
    subject.progress.plan, subject.progress.step = (4, 4), 2
    assert subject.step(batches(recipe, PAIRS).batch(2)).learning_rate == pytest.approx(2.5e-4)


def test_parts_of_a_stage_alone_learn_and_are_clipped_alone() -> None:
    recipe = small(clip_norm=0.0, warmup=0)
    subject = trainer(recipe)
    subject.progress.plan = (1, 1)
    before = {name: value.clone() for name, value in subject.model.state_dict().items()}
    subject.step(batches(recipe, PAIRS).batch(0))
    moved = {
        name.split(".")[0]
        for name, value in subject.model.state_dict().items()
        if not torch.equal(value, before[name])
    }
    assert moved == {"encoder", "decoder"}
    recipe = small(clip_norm=1e-3)
    subject = trainer(recipe)
    subject.progress.plan = (1, 1)
    norms = subject.step(batches(recipe, PAIRS).batch(0)).gradient_norms
    assert all(norm > 1e-3 for norm in norms.values())
    for name in ("encoder", "decoder"):
        gradients = [p.grad for p in subject.parts[name].parameters() if p.grad is not None]
        assert torch.nn.utils.get_total_norm(gradients).item() == pytest.approx(1e-3, rel=1e-2)


def test_an_encoder_that_is_frozen_after_stage_one_stays_and_costs_no_gradients() -> None:
    recipe = small(freeze_encoder=True, warmup=0)
    subject = trainer(recipe)
    subject.progress.plan = (1, 2)
    moved = []
    for step in range(3):
        before = {name: value.clone() for name, value in subject.model.state_dict().items()}
        subject.step(batches(recipe, PAIRS).batch(step))
        after = subject.model.state_dict()
        moved.append({n.split(".")[0] for n in after if not torch.equal(after[n], before[n])})
    later = {"decoder", "base_fusion", "detail_fusion"}
    assert moved == [{"encoder", "decoder"}, later, later]
    assert not any(p.requires_grad for p in subject.parts["encoder"].parameters())
    assert all(p.requires_grad for p in subject.parts["decoder"].parameters())


def test_half_precision_stays_close(tmp_path: Path) -> None:
    recipe = small()
    data = batches(recipe, PAIRS)
    totals = []
    for half in (False, True):
        subject = trainer(recipe, half)
        subject.progress.plan = (1, 1)
        totals.append([subject.step(data.batch(step)).losses["total"] for step in range(2)])
    assert totals[0] == pytest.approx(totals[1], rel=0.05)
    assert totals[0] != totals[1]


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_losses_see_the_images_as_they_are(
    precision: Precision, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rounded to bf16, squares are off by more than the variances that SSIM divides by."""
    seen = []

    def watched(fused: Tensor, first: Tensor, second: Tensor) -> Tensor:
        seen.append((first.clone(), second.clone(), torch.is_autocast_enabled("cpu")))
        return losses.ssim(fused, first, second)

    index = cast(dict[str, Loss], LOSSES)
    monkeypatch.setitem(index, "ssim", replace(LOSSES["ssim"], function=watched))
    recipe = small(steps=1, single_stage=True, loss={"ssim": 1.0})
    data = batches(recipe, PAIRS)
    running = Running(accelerator="cpu", precision=precision)
    train(recipe, data, tmp_path, running=running, quiet=True)
    batch = data.batch(0)
    for first, second, half in seen:
        assert torch.equal(first, batch.first)
        assert torch.equal(second, batch.second)
        assert half == (precision == "bf16-mixed")
    assert seen
    with safe_open(tmp_path / WEIGHTS, "pt") as file:
        computed = file.metadata()["cddfuse.computed"]
    assert computed == f"{precision} on cpu, torch {torch.__version__}"


def test_gradients_of_flat_regions_survive_half_precision() -> None:
    """Bright, nearly flat: of images rounded to bf16 it would be 100,000 times as large."""
    torch.manual_seed(1)
    flat = (0.8 + 0.004 * torch.rand(2, 1, 48, 48)).clamp(0, 1)
    recipe = small(batch=1, single_stage=True, loss={"ssim": 6.0})
    norms = []
    for half in (False, True):
        subject = trainer(recipe, half)
        subject.progress.plan = (1,)
        norms.append(subject.step(ImagePair(flat[:1], flat[1:])).gradient_norms["decoder"])
    assert norms[1] == pytest.approx(norms[0], rel=0.1)


@pytest.mark.parametrize("half", [False, True])
def test_a_compiled_step_is_the_same_step(half: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    compiled = []

    def without_code(module: torch.nn.Module, **_: Any) -> Any:
        compiled.append(module)
        return compile_(module, backend="eager")  # traced, but not made into code: that takes long

    compile_ = torch.compile
    monkeypatch.setattr(torch, "compile", without_code)
    recipe = small()
    data = batches(recipe, PAIRS)
    states = []
    for wanted in (False, True):
        subject = trainer(recipe, half, compiled=wanted)
        subject.progress.plan = (1, 2)
        for step in range(3):
            subject.step(data.batch(step))
        states.append(subject.model.state_dict())
    assert compiled
    assert states[0].keys() == states[1].keys()
    for name, value in states[0].items():
        torch.testing.assert_close(states[1][name], value, rtol=1e-4, atol=1e-6)


def test_a_precision_that_there_is_not_is_refused() -> None:
    with pytest.raises(InputError, match="precision is 'bf16': use 32-true or bf16-mixed"):
        Running(precision="bf16")  # type: ignore[arg-type]


def test_weights_say_all_ways_in_which_they_were_computed(tmp_path: Path) -> None:
    recipe = small()
    run(tmp_path, recipe, running=Running(accelerator="cpu", stop_after=1e-9))
    for precision in ("bf16-mixed", "32-true"):
        again = Running(accelerator="cpu", precision=precision, stop_after=1e-9)
        run(tmp_path, recipe, resume=True, running=again)
    with safe_open(tmp_path / WEIGHTS, "pt") as file:
        computed = file.metadata()["cddfuse.computed"]
    by = f"on cpu, torch {torch.__version__}"
    assert computed == f"32-true {by}; bf16-mixed {by}"


def test_a_run_by_minutes_plans_its_steps_and_starts_afresh(tmp_path: Path) -> None:
    recipe = small(steps=0, minutes=0.05, epochs=(1, 3))
    outcome = train(recipe, batches(recipe, PAIRS), tmp_path, quiet=True)
    plan = torch.load(tmp_path / STATE, weights_only=True)["progress"]["plan"]
    assert outcome.finished
    assert sum(plan) == outcome.total >= 2
    fixed = small(steps=outcome.total, epochs=(1, 3))
    train(fixed, batches(fixed, PAIRS), tmp_path / "fixed", quiet=True)
    assert_same_weights(tmp_path, tmp_path / "fixed")


def test_settings_that_were_edited_before_resuming_are_refused(tmp_path: Path) -> None:
    run(tmp_path, small(), running=Running(stop_after=1e-9))
    with pytest.raises(InputError, match=r"began with learning_rate 0\.0005, not 0\.01: put it"):
        run(tmp_path, small(learning_rate=0.01), resume=True)
    run(tmp_path, resume=True)


def test_options_that_were_edited_are_named_and_a_teacher_may_move(tmp_path: Path) -> None:
    run(tmp_path, small(), running=Running(stop_after=1e-9))
    with pytest.raises(InputError, match=r"began with ema 0\.0, not 0\.9: put it back"):
        run(tmp_path, small(ema=0.9), resume=True)
    state = torch.load(tmp_path / STATE, weights_only=True)
    state["progress"]["recipe"]["teacher_weights"] = "where/it/was.safetensors"
    torch.save(state, tmp_path / STATE)
    run(tmp_path, resume=True)


def test_a_second_run_in_a_folder_is_refused_while_the_first_is_at_work(tmp_path: Path) -> None:
    recipe = small()
    data = batches(recipe, PAIRS)
    refused = []

    class Meanwhile:
        steps_per_epoch = data.steps_per_epoch

        def batch(self, step: int, share: Share = WHOLE) -> ImagePair:
            if step == 2:
                with pytest.raises(InputError, match="another run is at work in"):
                    run(tmp_path, resume=True)
                refused.append(step)
            return data.batch(step, share)

    assert train(recipe, Meanwhile(), tmp_path, quiet=True).finished
    assert refused == [2]
    run(tmp_path, resume=True)  # the lock went with the first


def test_a_damaged_state_is_refused(tmp_path: Path) -> None:
    (tmp_path / STATE).write_bytes(b"nothing of the kind")
    with pytest.raises(InputError, match=r"state\.pt is not the state of a training run"):
        run(tmp_path, resume=True)


# Validation pairs and curves


def test_validation_pairs_of_any_size_are_cut_to_what_the_network_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    model = RECIPES["cddfuse_small"]["quick"].create_model().eval()
    odd = [ImagePair(torch.rand(1, 49, 37), torch.rand(1, 49, 37), "odd")]
    assert Validation(odd, multiple=8).pairs[0].first.shape == (1, 48, 32)
    (stage,) = CDDFuseSmallRecipe(teacher="max").stages()
    assert math.isfinite(Validation(odd, multiple=8).losses(model, stage)["total"])
    with pytest.raises(InputError, match="the validation pair odd is smaller than 16 pixels"):
        Validation([ImagePair(torch.rand(1, 49, 7), torch.rand(1, 49, 7), "odd")])


def test_a_finished_run_that_is_resumed_looks_once(tmp_path: Path) -> None:
    recipe = small(steps=2)
    run(tmp_path, recipe, validation=PAIRS[:1])
    before = rows(tmp_path)
    run(tmp_path, recipe, validation=PAIRS[:1], resume=True)
    assert rows(tmp_path) == before


def test_curves_show_the_terms_of_all_stages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = []

    def keep(figure: Figure, path: Path, **_: object) -> None:
        drawn.append(figure)
        path.touch()

    monkeypatch.setattr(Figure, "savefig", keep)
    with TrainingLog(tmp_path, total=2, step=0, quiet=True) as log:
        log.draw()  # all steps were left out
        log.add(1, "one", {"total": 3.0, "edges": 2.0}, 1)
        log.add(2, "two", {"total": 1.0, "critics": -1.0}, 1)
        log.add_validation(2, "two", {"total": 1.0, "critics": 0.5})
        log.draw()
    terms = drawn[-1].axes[2]
    assert [line.get_label() for line in terms.lines] == ["edges", "critics"]
    assert [axes.get_yscale() for axes in drawn[-1].axes[:3:2]] == ["log", "linear"]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("log.csv", b"step;stage;total\n1;separate;2,5\n"),  # of a spreadsheet
        ("log.csv", b"\xff\xfe"),
        ("state.pt", b"cut"),
        ("state.pt", b"list"),
        ("state.pt", b"stages"),
    ],
)
def test_damaged_files_of_a_run_are_named(tmp_path: Path, name: str, content: bytes) -> None:
    recipe = small(steps=2)
    run(tmp_path, recipe, running=Running(stop_after=1e-9))
    path = tmp_path / name
    if content == b"cut":
        content = path.read_bytes()[:5000]
    if content == b"list":
        torch.save([1], path)
    elif content == b"stages":
        state = torch.load(path, weights_only=True)
        torch.save({**state, "progress": {**state["progress"], "plan": (1, 2, 3)}}, path)
    else:
        path.write_bytes(content)
    with pytest.raises(InputError, match=re.escape(str(path))):
        run(tmp_path, recipe, resume=True)
