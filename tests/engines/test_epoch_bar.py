from ignite.engine import Engine

from amsam_monai.engines.epoch_bar import epoch_bar


def test_the_bar_counts_epochs_not_batches(capfd):
    trainer = Engine(lambda engine, batch: None)
    epoch_bar(trainer, "learning")
    trainer.run(range(7), max_epochs=3)
    shown = capfd.readouterr().err
    assert "learning" in shown
    assert "/3]" in shown
    assert "/7]" not in shown
