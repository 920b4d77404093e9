import pytest
import torch
from ignite.engine import Engine, Events

from amsam_monai.handlers import PolynomialDecay


def rates(handler, optimizer, epochs=2, length=100):
    seen = []
    engine = Engine(lambda engine, batch: seen.append(optimizer.param_groups[0]["lr"]))
    handler.attach(engine)
    engine.run(range(length), max_epochs=epochs)
    return seen


def adamw(lr=5e-3):
    return torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))], lr=lr)


def test_the_learning_rate_follows_the_paper_s_law_from_the_first_iteration():
    optimizer = adamw()
    seen = rates(PolynomialDecay(optimizer), optimizer)
    assert seen[0] == 5e-3  # BLO-SAM's code starts at 2e-4 and runs one step late
    assert seen[1] == pytest.approx(4.97749e-3, rel=1e-5)
    assert seen[199] == pytest.approx(5e-3 * (1 / 200) ** 0.9)


def test_every_optimiser_keeps_its_own_rate():
    lower, upper = adamw(5e-3), adamw(1e-3)
    rates(PolynomialDecay([lower, upper]), lower, epochs=1)
    assert upper.param_groups[0]["lr"] / lower.param_groups[0]["lr"] == pytest.approx(0.2)


def test_warm_up_rises_to_the_full_rate_then_decays():
    optimizer = adamw(1.0)
    seen = rates(PolynomialDecay(optimizer, warmup=4), optimizer, epochs=1, length=10)
    assert seen[:5] == [0.25, 0.5, 0.75, 1.0, 1.0]
    assert seen[5] == pytest.approx(0.9**0.9)


def test_a_resumed_run_has_the_rate_of_its_iteration():
    optimizer = adamw()
    whole = rates(PolynomialDecay(optimizer), optimizer, epochs=2, length=10)
    optimizer = adamw()
    seen = []
    engine = Engine(lambda engine, batch: seen.append(optimizer.param_groups[0]["lr"]))
    PolynomialDecay(optimizer).attach(engine)

    @engine.on(Events.STARTED)
    def resume(engine):
        engine.state.epoch, engine.state.iteration = 1, 10

    engine.run(range(10), max_epochs=2)
    assert seen == whole[10:]


def test_a_negative_power_is_refused():
    with pytest.raises(ValueError, match="must not be negative"):
        PolynomialDecay(adamw(), power=-1)
