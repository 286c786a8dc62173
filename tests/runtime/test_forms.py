"""The fast form of a network is built once, and again when the network is another one."""

import gc
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from weakref import ref

import pytest
import torch
from released import released_model
from torch import Tensor

from benchmarks.plain import plain
from cddfuse.models import create_model
from cddfuse.models.cddfuse import CDDFuse
from cddfuse.runtime import run
from cddfuse.runtime.run import fast_form_of


def images(height: int, width: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    first, second = torch.rand(2, 1, 1, height, width, generator=generator)
    return first, second


def expected(model: CDDFuse, first: Tensor, second: Tensor) -> Tensor:
    with torch.inference_mode():
        return plain(model)(first, second)


def test_it_is_built_once() -> None:
    model = released_model()
    form = fast_form_of(model)
    assert form is not None
    run(model, *images(20, 24))
    assert fast_form_of(model) is form
    assert fast_form_of(released_model()) is not form


def in_place(model: CDDFuse) -> None:
    with torch.no_grad():
        model.decoder.reduce.weight.mul_(0.9)


def through_data(model: CDDFuse) -> None:
    model.decoder.reduce.weight.data.mul_(0.9)  # of which no version counter knows


def by_another_tensor(model: CDDFuse) -> None:
    model.decoder.reduce.weight.data = model.decoder.reduce.weight.data * 0.9


def by_loading(model: CDDFuse) -> None:
    state = {name: tensor * 0.9 for name, tensor in model.state_dict().items()}
    model.load_state_dict(state)


def by_training(model: CDDFuse) -> None:
    model(*images(16, 16)).sum().backward()
    torch.optim.SGD(model.parameters(), 1e-3).step()


def by_an_option(model: CDDFuse) -> None:
    model.residual = "sum"


CHANGES = [in_place, through_data, by_another_tensor, by_loading, by_training, by_an_option]


@pytest.mark.parametrize("change", CHANGES)
def test_changed_weights_count_at_once(change: Callable[[CDDFuse], None]) -> None:
    model, pair = released_model(), images(24, 30)
    before = run(model, *pair)
    change(model)
    after = run(model, *pair)
    assert (after - before).abs().max() > 1e-5
    torch.testing.assert_close(after, expected(model, *pair), atol=1e-5, rtol=0)


def test_ablations_and_networks_that_became_some_have_none() -> None:
    assert fast_form_of(CDDFuse(base="invertible")) is None
    assert fast_form_of(create_model("mean")) is None
    model = released_model()
    assert fast_form_of(model) is not None
    assert fast_form_of(model.double()) is None


def test_it_goes_with_its_network() -> None:
    model = released_model()
    run(model, *images(16, 16))
    gone = ref(model)
    del model
    gc.collect()
    assert gone() is None


@pytest.fixture
def two_threads() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(threads)


@pytest.mark.usefixtures("two_threads")
def test_threads_may_fuse_with_one_network_at_a_time() -> None:
    model = released_model()
    pairs = [images(60 + 7 * seed, 70, seed) for seed in range(4)]
    alone = [run(model, *pair) for pair in pairs]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda pair: run(model, *pair), pairs * 3))
    for one, other in zip(together, alone * 3, strict=True):
        assert torch.equal(one, other)
