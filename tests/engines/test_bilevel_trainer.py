import copy
import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from amsam_monai.engines import BilevelTrainer, CyclingSampler, cycling_loader


class Toy(nn.Module):
    """A prompt (upper) that shifts the pixels, two layers (lower), and a low-rank update whose B is zero."""

    def __init__(self, dtype=torch.float64):
        super().__init__()
        generator = torch.Generator().manual_seed(1)

        def random(*shape):
            return nn.Parameter(torch.randn(*shape, generator=generator, dtype=dtype) / 2)

        self.prompt = random(3)
        self.first, self.second = random(4, 3), random(2, 4)
        self.lora_a, self.lora_b = random(2, 3), nn.Parameter(torch.zeros(4, 2, dtype=dtype))
        self.silent = random(3)  # trains, but no loss depends on it

    def lower_parameters(self):
        return [self.first, self.second, self.lora_a, self.lora_b, self.silent]

    def upper_parameters(self):
        return [self.prompt]

    def forward(self, image, low_res=False):
        weight = self.first + self.lora_b @ self.lora_a
        hidden = F.gelu(torch.einsum("oc,bchw->bohw", weight, image + self.prompt[:, None, None]))
        return torch.einsum("oc,bchw->bohw", self.second, hidden)


def loss(logits, label):
    return F.cross_entropy(logits, label[:, 0].long())


def samples(count, seed, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    image = torch.rand(count, 3, 4, 4, generator=generator, dtype=dtype)
    return [{"image": one, "label": (one[:1] > 0.4).to(dtype), "case_id": str(n)} for n, one in enumerate(image)]


def batch(count, seed, **kwargs):
    items = samples(count, seed, **kwargs)
    return {key: torch.stack([item[key] for item in items]) for key in ("image", "label")}


def trainer(network, lower, upper, *, lr=0.05, upper_optimizer=None, **kwargs):
    kwargs.setdefault("max_epochs", 1)
    optimizer = kwargs.pop("optimizer", None) or torch.optim.AdamW(network.lower_parameters(), lr=lr, weight_decay=0.1)
    upper_optimizer = upper_optimizer or torch.optim.SGD(network.upper_parameters(), lr=1.0)
    return BilevelTrainer(
        device="cpu",
        train_data_loader=lower,
        upper_data_loader=upper,
        network=network,
        optimizer=optimizer,
        upper_optimizer=upper_optimizer,
        loss_function=loss,
        **kwargs,
    )


def warmed(steps):
    """A network and its AdamW after some plain steps, so that moments and step count are not trivial."""
    network = Toy()
    optimizer = torch.optim.AdamW(network.lower_parameters(), lr=0.05, weight_decay=0.1)
    for seed in range(steps):
        data = batch(2, seed)
        optimizer.zero_grad()
        loss(network(data["image"]), data["label"]).backward()
        optimizer.step()
    return network, optimizer


def upper_gradient(network, optimizer, lower, upper, **kwargs):
    """What the trainer subtracts from the prompt with a learning rate of 1; the arguments stay as they are."""
    network, optimizer = copy.deepcopy((network, optimizer))
    before = network.prompt.detach().clone()
    trainer(network, lower, upper, optimizer=optimizer, **kwargs).run()
    return before - network.prompt.detach()


def numeric_gradient(network, optimizer, lower, upper, width=1e-5):
    """Central differences of the upper loss after torch's own AdamW step, in the prompt."""

    def value(shift):
        own, step = copy.deepcopy((network, optimizer))
        own.prompt.data += shift
        step.zero_grad()
        for data in lower:
            (loss(own(data["image"]), data["label"]) / len(lower)).backward()
        step.step()
        return loss(own(upper["image"]), upper["label"]).item()

    rows = torch.eye(3, dtype=torch.float64) * width
    return torch.tensor([(value(row) - value(-row)) / (2 * width) for row in rows], dtype=torch.float64)


@pytest.mark.parametrize("steps", [0, 1, 5])
def test_the_second_order_gradient_agrees_with_finite_differences(steps):
    network, optimizer = warmed(steps)
    lower, upper = batch(2, 100), batch(2, 200)
    exact = upper_gradient(network, optimizer, [lower], [upper], order="second")
    assert exact == pytest.approx(numeric_gradient(network, optimizer, [lower], upper), rel=1e-5, abs=1e-9)


def test_first_order_is_another_gradient_and_the_cheap_variant_is_near_the_exact_one():
    network, optimizer = warmed(5)
    lower, upper = batch(2, 100), batch(2, 200)
    first, second, cheap = (
        upper_gradient(network, optimizer, [lower], [upper], order=order)
        for order in ("first", "second", "finite_difference")
    )
    assert (first - second).norm() > 0.05 * second.norm()
    assert (cheap - second).norm() < 0.01 * (first - second).norm()


def test_first_order_is_the_gradient_at_the_moved_weights():
    network, optimizer = warmed(3)
    lower, upper = batch(2, 100), batch(2, 200)
    own, step = copy.deepcopy((network, optimizer))
    step.zero_grad()
    loss(own(lower["image"]), lower["label"]).backward()
    step.step()
    expected = torch.autograd.grad(loss(own(upper["image"]), upper["label"]), own.prompt)[0]
    assert upper_gradient(network, optimizer, [lower], [upper]) == pytest.approx(expected, rel=1e-12)


def test_the_second_order_sees_all_batches_of_an_accumulated_step():
    network, optimizer = warmed(3)
    lower, upper = [batch(2, 100), batch(2, 101), batch(2, 102)], batch(2, 200)
    exact = upper_gradient(network, optimizer, lower, [upper], order="second", accumulation_steps=3)
    assert exact == pytest.approx(numeric_gradient(network, optimizer, lower, upper), rel=1e-5, abs=1e-9)


def test_single_precision_and_a_zero_b_give_no_nan():
    network = Toy(dtype=torch.float32)
    run = trainer(network, [batch(2, 0, dtype=torch.float32)] * 3, [batch(2, 1, dtype=torch.float32)], order="second")
    run.run()
    assert all(parameter.isfinite().all() for parameter in network.parameters())


@pytest.mark.parametrize("order", ["first", "second", "finite_difference"])
def test_each_level_moves_its_own_parameters_alone(order):
    network = Toy()
    start = copy.deepcopy(network.state_dict())
    still = torch.optim.SGD(network.upper_parameters(), lr=0.0)
    trainer(network, [batch(2, 0)], [batch(2, 1)], upper_optimizer=still, order=order).run()
    assert torch.equal(network.prompt, start["prompt"])
    assert not torch.equal(network.first, start["first"])

    network.load_state_dict(start)
    trainer(network, [batch(2, 0)], [batch(2, 1)], lr=0.0, order=order).run()
    assert not torch.equal(network.prompt, start["prompt"])
    assert all(torch.equal(value, start[name]) for name, value in network.state_dict().items() if name != "prompt")


def test_plain_training_moves_as_the_lower_level_does():
    """With an upper level that stands still, the lower one is MONAI's SupervisedTrainer."""
    from monai.engines import SupervisedTrainer

    from amsam_monai.engines import PrepareSystemBatch

    lower = [batch(2, seed) for seed in range(4)]
    network, other = Toy(), Toy()
    trainer(
        network, lower, [batch(2, 9)], upper_optimizer=torch.optim.SGD([network.prompt], lr=0.0), max_epochs=2
    ).run()
    SupervisedTrainer(
        device=torch.device("cpu"),
        max_epochs=2,
        train_data_loader=lower,
        network=other,
        optimizer=torch.optim.AdamW(other.lower_parameters(), lr=0.05, weight_decay=0.1),
        loss_function=loss,
        prepare_batch=PrepareSystemBatch(low_res=True),
    ).run()
    assert all(torch.equal(a, b) for a, b in zip(network.parameters(), other.parameters(), strict=True))


def seen_by(run):
    """Case ids of the upper batches in the order they come."""
    seen, following = [], run._next_upper_batch

    def watch():
        data = following()
        seen.extend(data["case_id"])
        return data

    run._next_upper_batch = watch
    return seen


def lower_loader(count=4):
    return [batch(1, seed) for seed in range(count)]


def test_every_image_of_d2_is_used_in_every_round():
    run = trainer(Toy(), lower_loader(4), cycling_loader(samples(3, 9), seed=1), max_epochs=3)
    seen = seen_by(run)
    run.run()
    rounds = [sorted(seen[start : start + 3]) for start in range(0, 12, 3)]
    assert rounds == [["0", "1", "2"]] * 4
    assert len({tuple(seen[start : start + 3]) for start in range(0, 12, 3)}) > 1


def test_an_ordinary_loader_goes_round_too():
    run = trainer(
        Toy(), lower_loader(4), [{**batch(1, seed), "case_id": [str(seed)]} for seed in range(3)], max_epochs=2
    )
    seen = seen_by(run)
    run.run()
    assert seen == ["0", "1", "2", "0", "1", "2", "0", "1"]


@pytest.mark.parametrize(("lower_steps", "upper_steps", "expected"), [(1, 1, 8), (2, 1, 4), (3, 1, 2), (1, 2, 16)])
def test_the_ratio_of_steps_is_a_knob(lower_steps, upper_steps, expected):
    upper = cycling_loader(samples(3, 9))
    run = trainer(Toy(), lower_loader(4), upper, max_epochs=2, lower_steps=lower_steps, upper_steps=upper_steps)
    seen = seen_by(run)
    run.run()
    assert len(seen) == expected


def test_accumulated_batches_make_one_step_and_an_epoch_ends_with_one():
    network = Toy()
    optimizer = torch.optim.AdamW(network.lower_parameters(), lr=0.05)
    run = trainer(network, lower_loader(5), cycling_loader(samples(3, 9)), optimizer=optimizer, accumulation_steps=2)
    seen = seen_by(run)
    run.run()
    assert len(seen) == 3
    assert optimizer.state[network.first]["step"] == 3


def test_accumulation_equals_the_larger_batch():
    whole, parts = Toy(), Toy()
    items = samples(4, 0)
    stacked = {key: torch.stack([item[key] for item in items]) for key in ("image", "label")}
    pieces = [{key: value[index : index + 1] for key, value in stacked.items()} for index in range(4)]
    trainer(whole, [stacked], [batch(2, 9)]).run()
    trainer(parts, pieces, [batch(2, 9)], accumulation_steps=4).run()
    assert all(torch.allclose(a, b, atol=1e-12) for a, b in zip(whole.parameters(), parts.parameters(), strict=True))


def test_both_losses_are_in_the_output_and_fall():
    from ignite.engine import Events

    network, losses = Toy(), []
    adamw = torch.optim.AdamW(network.upper_parameters(), lr=1e-2)
    run = trainer(network, lower_loader(4), cycling_loader(samples(3, 9)), max_epochs=30, upper_optimizer=adamw)

    @run.on(Events.ITERATION_COMPLETED)
    def keep(engine):
        losses.append((engine.state.output[0]["loss"], engine.state.output[0]["upper_loss"]))

    run.run()
    assert math.isfinite(losses[0][1])
    for level in (0, 1):
        first, last = (sum(pair[level] for pair in part) for part in (losses[:12], losses[-12:]))
        assert last < 0.7 * first


def test_mixed_precision_runs_with_the_device_s_own_autocast():
    network = Toy(dtype=torch.float32)
    data = batch(2, 0, dtype=torch.float32)
    run = trainer(network, [data] * 3, [data], amp=True, amp_kwargs={"dtype": torch.bfloat16}, order="second")
    run.run()
    assert run.state.output[0]["pred"].dtype == torch.bfloat16
    assert all(parameter.isfinite().all() for parameter in network.parameters())


def test_refusals_say_what_is_wrong():
    network, data = Toy(), [batch(1, 0)]
    cases = [
        ({"order": "third"}, "order must be one of"),
        ({"lower_steps": 0}, "must be at least 1"),
        ({"order": "second", "upper_steps": 2}, "upper_steps just 1 unless"),
        ({"compile": True}, "cannot take compile=True"),
        ({"order": "second", "optimizer": torch.optim.SGD([network.first], lr=0.1)}, "differentiate AdamW's step"),
        ({"upper_optimizer": torch.optim.SGD([network.first], lr=0.1)}, "belong to one level, got in both: first"),
        ({"upper_optimizer": torch.optim.SGD([Toy().prompt], lr=0.1)}, "none of another module"),
    ]
    for kwargs, message in cases:
        with pytest.raises(ValueError, match=message):
            trainer(network, data, data, **kwargs)


def test_parameters_of_no_level_are_named_in_the_log(caplog):
    network = Toy()
    trainer(network, [batch(1, 0)], [batch(1, 0)], optimizer=torch.optim.AdamW([network.first], lr=0.1))
    assert "train in neither level: lora_a, lora_b, second, silent" in caplog.text


def test_processes_take_turns_and_together_visit_every_item():
    def take(sampler, count):
        return [index for index, _ in zip(sampler, range(count), strict=False)]

    ranks = [take(CyclingSampler(5, seed=3, rank=rank, processes=2), 5) for rank in (0, 1)]
    together = [index for pair in zip(*ranks, strict=True) for index in pair]
    assert together == take(CyclingSampler(5, seed=3), 10)
    assert sorted(together[:5]) == sorted(together[5:]) == [0, 1, 2, 3, 4]


def test_a_sampler_goes_on_where_it_is_told():
    sampler = CyclingSampler(5, seed=3)
    whole = [index for index, _ in zip(sampler, range(20), strict=False)]
    sampler.start = 7
    assert [index for index, _ in zip(sampler, range(13), strict=False)] == whole[7:]
    with pytest.raises(ValueError, match="at least one item"):
        CyclingSampler(0)
    with pytest.raises(ValueError, match="rank must lie in"):
        CyclingSampler(2, rank=2, processes=2)
