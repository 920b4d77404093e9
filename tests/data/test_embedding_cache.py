import multiprocessing
import os
import time

import pytest
import torch
from monai.data import DataLoader, MetaTensor
from typer.testing import CliRunner

from amsam_monai.cli.cache import app
from amsam_monai.data.embeddings import cache as embedding_cache
from amsam_monai.data.embeddings.cache import EmbeddingCache, state_sha256
from amsam_monai.data.embeddings.contents import cache_contents, clear_cache
from amsam_monai.data.embeddings.dataset import CachedEmbeddingDataset, FixedViews
from amsam_monai.data.embeddings.folder import cache_folder

FINGERPRINT = {"weights_sha256": "abc", "image_size": 8}


class Encoder:
    """Means over 4 x 4 blocks, and a count of the images that went through."""

    def __init__(self):
        self.batches = []

    def __call__(self, images):
        self.batches.append(len(images))
        return torch.nn.functional.avg_pool2d(images, 4) / 3


def images(count, side=8, seed=0):
    return list(torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(seed)))


def cache(folder, **kwargs):
    return EmbeddingCache(folder, fingerprint=FINGERPRINT, **kwargs)


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_what_was_kept_comes_back_bit_for_bit(tmp_path, dtype):
    encode, image = Encoder(), images(1)[0]
    first = cache(tmp_path, dtype=dtype).get_or_compute(image, encode)
    again = cache(tmp_path, dtype=dtype).get_or_compute(image, encode)
    assert again.dtype == getattr(torch, dtype)
    assert torch.equal(first, again)
    assert encode.batches == [1]


def test_a_cache_switched_off_rounds_alike_and_writes_nothing(tmp_path):
    encode, image = Encoder(), images(1)[0]
    on = cache(tmp_path / "on").get_or_compute(image, encode)
    off = cache(tmp_path / "off", enabled=False)
    assert torch.equal(off.get_or_compute(image, encode), on)
    off.get_or_compute(image, encode)
    assert encode.batches == [1, 1, 1]
    assert not (tmp_path / "off").exists()


def test_filling_encodes_in_batches_and_only_what_is_missing(tmp_path):
    encode, data = Encoder(), images(5)
    cache(tmp_path).get_or_compute(data[0], encode)
    assert cache(tmp_path).fill(data, encode, batch_size=2, progress=False) == 4
    assert encode.batches == [1, 2, 2]
    assert cache(tmp_path).fill(data, encode, progress=False) == 0


def test_images_of_different_size_are_batched_apart(tmp_path):
    encode = Encoder()
    data = [image for pair in zip(images(3), images(3, side=12), strict=True) for image in pair]
    assert cache(tmp_path).fill(data, encode, batch_size=2, progress=False) == 6
    assert sorted(encode.batches) == [1, 1, 2, 2]


def test_the_key_depends_on_values_shape_and_type_of_the_image():
    store = cache(None)
    image = torch.zeros(3, 8, 8)
    others = [torch.ones(3, 8, 8), torch.zeros(3, 4, 16), torch.zeros(3, 8, 8, dtype=torch.float64)]
    assert len({store.key(other) for other in [image, *others]}) == 4
    assert store.key(MetaTensor(image, meta={"filename_or_obj": "a.png"})) == store.key(image)
    assert store.key(image.transpose(1, 2)) == store.key(image.transpose(1, 2).contiguous())


def test_another_fingerprint_is_another_embedding(tmp_path):
    encode, image = Encoder(), images(1)[0]
    for fingerprint in ({"weights_sha256": "a"}, {"weights_sha256": "b"}):
        EmbeddingCache(tmp_path, fingerprint=fingerprint).get_or_compute(image, encode)
    assert encode.batches == [1, 1]


def test_the_digest_of_weights_sees_names_and_values():
    state = {"a": torch.zeros(2), "b": torch.ones(2)}
    assert state_sha256(state) == state_sha256(dict(reversed(state.items())))
    assert state_sha256(state) != state_sha256({"a": torch.ones(2), "b": torch.zeros(2)})


@pytest.mark.parametrize("damage", ["truncated", "flipped", "empty", "text"])
def test_a_damaged_entry_is_computed_again(tmp_path, damage, caplog):
    encode, image, store = Encoder(), images(1)[0], cache(tmp_path)
    whole = store.get_or_compute(image, encode)
    path = store.path(store.key(image))
    content = path.read_bytes()
    flipped = content[:-1] + bytes([content[-1] ^ 1])
    path.write_bytes({"truncated": content[:-4], "flipped": flipped, "empty": b"", "text": b"no tensor"}[damage])
    assert torch.equal(store.get_or_compute(image, encode), whole)
    assert "damaged" in caplog.text
    assert path.read_bytes() == content


def test_values_beyond_float16_are_refused(tmp_path):
    with pytest.raises(ValueError, match="use dtype='float32'"):
        cache(tmp_path).get_or_compute(images(1)[0], lambda image: image * 1e6)


def test_an_unknown_dtype_is_refused(tmp_path):
    with pytest.raises(ValueError, match="dtype must be one of float16, float32"):
        cache(tmp_path, dtype="bfloat16")


def test_the_folder_comes_from_the_argument_then_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("AMSAM_CACHE", str(tmp_path))
    assert cache_folder() == tmp_path
    assert cache_folder("elsewhere").name == "elsewhere"
    monkeypatch.delenv("AMSAM_CACHE")
    assert cache_folder().parts[-3:] == (".cache", "amsam_monai", "embeddings")


def _fill(folder, barrier):
    torch.set_num_threads(1)
    barrier.wait()
    for _ in range(5):
        cache(folder).fill(images(8), Encoder(), batch_size=3, progress=False)
        clear_cache(folder, older_than_s=0.01)


def test_an_entry_that_another_process_clears_while_it_is_opened_is_not_there(tmp_path, monkeypatch, caplog):
    store, (image,) = cache(tmp_path), images(1)
    store.fill([image], Encoder(), progress=False)
    opened = embedding_cache.safe_open

    def cleared_before(path, *args):
        path.unlink()
        return opened(path, *args)

    monkeypatch.setattr(embedding_cache, "safe_open", cleared_before)
    assert store.read(store.key(image)) is None
    assert "damaged" not in caplog.text


def test_the_size_leaves_out_what_another_process_clears_while_it_is_summed(tmp_path, monkeypatch):
    store, (first, second) = cache(tmp_path), images(2)
    store.fill([first, second], Encoder(), progress=False)
    gone, kept = store.path(store.key(first)), store.path(store.key(second)).stat().st_size
    stat = type(gone).stat

    def cleared_before(path, **options):
        if path == gone:
            path.unlink(missing_ok=True)
        return stat(path, **options)

    monkeypatch.setattr(type(gone), "stat", cleared_before)
    assert store.size() == kept


def test_processes_may_write_and_clear_at_once(tmp_path):
    context = multiprocessing.get_context("fork")
    barrier = context.Barrier(3)
    processes = [context.Process(target=_fill, args=(tmp_path, barrier), daemon=True) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0, 0]
    cache(tmp_path).fill(images(8), Encoder(), progress=False)
    assert all(cache(tmp_path).read(cache(tmp_path).key(image)) is not None for image in images(8))
    assert not list(tmp_path.rglob(".partial-*"))


def test_contents_are_counted_and_cleared_and_other_files_stay(tmp_path):
    cache(tmp_path).fill(images(3), Encoder(), progress=False)
    (tmp_path / "mine.txt").write_text("keep me", encoding="utf-8")
    (contents,) = cache_contents(tmp_path)
    assert contents.entries == 3
    assert contents.fingerprint == {**FINGERPRINT, "dtype": "float16"}
    number, size = clear_cache(tmp_path)
    assert (number, size) == (3, contents.size)
    assert cache_contents(tmp_path) == []
    assert sorted(path.name for path in tmp_path.rglob("*.*")) == ["fingerprint.json", "mine.txt"]


def test_clearing_leaves_what_is_young(tmp_path):
    store = cache(tmp_path)
    store.fill(images(2), Encoder(), progress=False)
    old = store.path(store.key(images(2)[0]))
    os.utime(old, (time.time() - 7200, time.time() - 7200))
    assert clear_cache(tmp_path, older_than_s=3600)[0] == 1
    assert cache_contents(tmp_path)[0].entries == 1


def test_the_command_shows_and_clears(tmp_path):
    cache(tmp_path).fill(images(2), Encoder(), progress=False)
    shown = CliRunner().invoke(app, ["info", "--dir", str(tmp_path)])
    assert shown.exit_code == 0
    assert "2 embeddings" in shown.output
    assert CliRunner().invoke(app, ["clear", "--dir", str(tmp_path)], input="n\n").exit_code == 1
    assert cache_contents(tmp_path)[0].entries == 2
    cleared = CliRunner().invoke(app, ["clear", "--dir", str(tmp_path), "--yes"])
    assert "removed 2 embeddings" in cleared.output
    assert "0 embeddings" in CliRunner().invoke(app, ["info", "--dir", str(tmp_path)]).output


class Count:
    """A deterministic transform that counts its calls."""

    def __init__(self):
        self.calls = 0

    def __call__(self, sample):
        self.calls += 1
        return dict(sample)


def samples(count):
    return [{"image": image, "case_id": f"case_{index}"} for index, image in enumerate(images(count))]


def test_samples_bring_their_embedding_and_are_prepared_once(tmp_path):
    encode, transform = Encoder(), Count()
    data = CachedEmbeddingDataset(samples(3), transform, cache=cache(tmp_path), encode=encode, progress=False)
    batches = [batch for _ in range(2) for batch in DataLoader(data, batch_size=3)]
    assert torch.equal(batches[0]["embedding"], batches[1]["embedding"])
    assert batches[0]["embedding"].shape == (3, 3, 2, 2)
    assert encode.batches == [3]
    assert transform.calls == 3


def test_samples_beyond_what_is_kept_in_memory_come_from_disk(tmp_path):
    encode, transform = Encoder(), Count()
    data = CachedEmbeddingDataset(samples(3), transform, cache=cache(tmp_path), encode=encode, keep=3, progress=False)
    assert [data[index]["embedding"].shape for index in (0, 1, 2, 0, 1, 2)] == [(3, 2, 2)] * 6
    assert encode.batches == [3]
    assert transform.calls == 3 + 4


def test_without_filling_an_embedding_is_computed_at_its_first_access(tmp_path):
    encode = Encoder()
    data = CachedEmbeddingDataset(samples(2), cache=cache(tmp_path), encode=encode, fill=False)
    assert encode.batches == []
    assert torch.equal(data[0]["embedding"], data[0]["embedding"])
    assert encode.batches == [1]


def test_without_a_cache_each_access_computes(tmp_path):
    encode = Encoder()
    data = CachedEmbeddingDataset(samples(1), cache=cache(tmp_path, enabled=False), encode=encode)
    assert torch.equal(data[0]["embedding"], data[0]["embedding"])
    assert encode.batches == [1, 1]


def test_views_are_fixed_and_each_has_its_own_embedding(tmp_path):
    from monai.transforms import RandGaussianNoised

    encode = Encoder()

    def build():
        augment = FixedViews(RandGaussianNoised("image", prob=1.0))
        return CachedEmbeddingDataset(
            samples(2), cache=cache(tmp_path), encode=encode, augment=augment, views=3, batch_size=6, progress=False
        )

    first, second = build().set_random_state(0), build().set_random_state(0)
    assert encode.batches == [6]
    drawn = [first[0]["image"] for _ in range(12)]
    assert all(torch.equal(one, second[0]["image"]) for one in drawn)
    assert len({one.sum().item() for one in drawn}) == 3
    assert torch.equal(first.view(0, 0)["image"], samples(2)[0]["image"])
    assert not torch.equal(first.view(0, 1)["image"] - first.view(0, 0)["image"], first.view(1, 1)["image"])
    for _ in range(4):
        sample = second[1]
        assert torch.equal(sample["embedding"], Encoder()(sample["image"][None])[0].half())


def test_what_comes_after_may_be_random_but_not_touch_the_image(tmp_path):
    from monai.transforms import RandLambdad

    def dataset(key):
        jitter = RandLambdad(key, lambda value: value + 1, prob=0.5)
        data = [{**sample, "box": torch.zeros(1, 4)} for sample in samples(1)]
        return CachedEmbeddingDataset(
            data, cache=cache(tmp_path), encode=Encoder(), post_transform=jitter, progress=False
        ).set_random_state(0)

    one, two = dataset("box"), dataset("box")
    drawn = [one[0]["box"].sum().item() for _ in range(10)]
    assert set(drawn) == {0.0, 4.0}
    assert drawn == [two[0]["box"].sum().item() for _ in range(10)]
    changing = dataset("image")
    with pytest.raises(ValueError, match="must leave the image alone"):
        [changing[0] for _ in range(20)]


def test_settings_that_make_no_sense_are_refused(tmp_path):
    with pytest.raises(ValueError, match="views must be 1, or more with augment given"):
        CachedEmbeddingDataset(samples(1), cache=cache(tmp_path), encode=Encoder(), views=2)
    with pytest.raises(TypeError, match="must be a MONAI random transform"):
        FixedViews(lambda sample: sample)
    with pytest.raises(ValueError, match="sample with the key 'image'"):
        CachedEmbeddingDataset([torch.zeros(3, 8, 8)], cache=cache(tmp_path), encode=Encoder())
