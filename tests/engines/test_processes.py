import pytest
import torch

from amsam_monai.engines.processes import device_of_process, join_processes


def test_a_process_that_torchrun_did_not_start_is_refused(monkeypatch):
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    for ask in (device_of_process, join_processes):
        with pytest.raises(ValueError, match="must be started by torchrun, which sets LOCAL_RANK"):
            ask()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_processes_compute_on_the_cpu(monkeypatch):
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert device_of_process() == torch.device("cpu")
