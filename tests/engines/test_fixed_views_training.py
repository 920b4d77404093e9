import pytest
import torch
from ignite.engine import Events

from amsam_monai.engines.embeddings import embedding_cache
from amsam_monai.engines.fixed_views_training import FixedViewsSettings, adam, fixed_views_trainer
from amsam_monai.networks.prompts.prompt_generator import PromptGenerator
from amsam_monai.networks.prompts.surrogate_decoder import SurrogateDecoder
from amsam_monai.networks.sam import build_sam
from amsam_monai.networks.systems.autosam import AutoSAM
from amsam_monai.networks.systems.from_scratch import FromScratch


def network(classes=1, **settings):
    torch.manual_seed(0)
    sam = build_sam("vit_nano", image_size=64)
    return AutoSAM(sam, PromptGenerator("sam", grid=4, num_classes=classes), num_classes=classes, **settings)


def samples(count=4, classes=1):
    generator = torch.Generator().manual_seed(0)
    pictures = [torch.rand(3, 40, 64, generator=generator) for _ in range(count)]
    return [{"image": p, "label": (p[:1] * (classes + 1)).long()} for p in pictures]


def run(net, tmp_path, classes=1, **settings):
    chosen = FixedViewsSettings(**{"epochs": 2, "batch_size": 2, "views": 2, "warmup": 0, **settings})
    losses = []
    trainer = fixed_views_trainer(net, samples(classes=classes), embedding_cache(net, tmp_path), chosen)
    trainer.add_event_handler(Events.ITERATION_COMPLETED, lambda engine: losses.append(engine.state.output[0]["loss"]))
    trainer.run()
    return [float(loss) for loss in losses]


def test_every_image_is_seen_once_an_epoch_and_the_loss_falls(tmp_path):
    losses = run(network(), tmp_path, epochs=6, learning_rate=3e-3, decay=0.0)
    assert len(losses) == 12
    assert sum(losses[-4:]) < sum(losses[:4])


def test_the_same_seed_gives_the_same_losses(tmp_path):
    assert run(network(), tmp_path) == run(network(), tmp_path)


def test_extra_samples_train_too_without_lengthening_an_epoch(tmp_path):
    extra = [{"image": torch.full((3, 64, 64), 0.5), "label": torch.ones(1, 64, 64).long()} for _ in range(30)]
    settings = FixedViewsSettings(epochs=2, batch_size=2, views=2, warmup=0, extra_share=0.6)
    seen = []
    net = network()
    trainer = fixed_views_trainer(net, samples(), embedding_cache(net, tmp_path), settings, extra=extra)

    def note(engine):
        seen.extend(bool((sample["label"] == 1).all()) for sample in engine.state.batch)

    trainer.add_event_handler(Events.ITERATION_COMPLETED, note)
    trainer.run()
    assert len(seen) == 2 * 4
    assert 0 < sum(seen) < len(seen)


def test_several_classes_train_with_softmax(tmp_path):
    assert all(loss > 0 for loss in run(network(2), tmp_path, classes=2))


def test_the_light_form_trains_its_decoder_alone(tmp_path):
    net = network(surrogate=SurrogateDecoder(), light=True)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    run(net, tmp_path)
    moved = {name.split(".")[0] for name, value in net.state_dict().items() if not torch.equal(value, before[name])}
    assert moved == {"surrogate"}


def test_a_network_without_sam_trains_as_a_system_does():
    net = FromScratch("unet", image_size=32)
    before = net.net.final_conv.weight.clone()
    settings = FixedViewsSettings(epochs=1, batch_size=2, views=2)
    fixed_views_trainer(net, samples(), None, settings).run()
    assert not torch.equal(net.net.final_conv.weight, before)


def test_a_tuned_backbone_learns_at_its_share_of_the_rate():
    net = AutoSAM(build_sam("vit_nano", image_size=64), PromptGenerator("sam", grid=4, tuned=True))
    rest, backbone = adam(net, learning_rate=0.01, pretrained_rate=0.1).param_groups
    assert (rest["lr"], backbone["lr"]) == (0.01, pytest.approx(0.001))
    tuned = sum(p.numel() for p in net.generator.backbone.parameters() if p.requires_grad)
    assert sum(p.numel() for p in backbone["params"]) == tuned > 0
    assert len(adam(network(), learning_rate=0.01).param_groups) == 1


def test_an_unknown_augmentation_is_refused(tmp_path):
    with pytest.raises(ValueError, match="augmentation must be one of"):
        run(network(), tmp_path, augmentation="none")
