import pytest
from ignite.engine import Engine, Events

from amsam_monai.handlers import StopEarly


class Evaluator:
    """What a validating engine tells of itself."""

    def __init__(self, name="dice"):
        self.state = type("State", (), {"key_metric_name": name, "best_metric_epoch": -1})()


def epochs_run(best_at, patience):
    """Epochs of a run of 10 whose best epochs are `best_at`."""
    evaluator, trainer = Evaluator(), Engine(lambda engine, batch: None)

    @trainer.on(Events.EPOCH_COMPLETED)
    def validate(engine):
        if engine.state.epoch in best_at:
            evaluator.state.best_metric_epoch = engine.state.epoch

    StopEarly(evaluator, patience=patience).attach(trainer)
    return trainer.run([0], max_epochs=10).epoch


def test_training_ends_when_the_best_epoch_is_too_long_ago():
    assert epochs_run({1, 3}, patience=4) == 7
    assert epochs_run({1, 9}, patience=20) == 10


def test_nothing_stops_before_the_first_validation():
    assert epochs_run(set(), patience=1) == 10


def test_the_run_counts_as_complete():
    evaluator, trainer, ends = Evaluator(), Engine(lambda engine, batch: None), []
    evaluator.state.best_metric_epoch = 1
    StopEarly(evaluator, patience=1).attach(trainer)
    trainer.add_event_handler(Events.COMPLETED, lambda e: ends.append((e.state.epoch, e.state.max_epochs)))
    trainer.run([0], max_epochs=5)
    assert ends == [(2, 2)]


def test_a_useless_setting_is_refused():
    with pytest.raises(ValueError, match="patience must be at least 1 epoch, got 0"):
        StopEarly(Evaluator(), patience=0)
    with pytest.raises(ValueError, match="evaluator must have a key metric"):
        StopEarly(Evaluator(None), patience=2)
