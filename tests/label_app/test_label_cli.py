"""`amsam label start` refuses what could not work, before anything starts."""

import pytest
from typer.testing import CliRunner

from amsam_monai.cli import app
from amsam_monai.cli.label import dicomweb_conf


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--host", "0.0.0.0"], "lets other machines in: give --token"),
        (["--modality", "MR"], "choose among a DICOMweb server's series"),
        ([], "--bundle must name at least one bundle"),
        (["--host", "0.0.0.0", "--token", "s3cret"], "--bundle must name at least one bundle"),
        (["--host", "0.0.0.0", "--insecure"], "--bundle must name at least one bundle"),
    ],
)
def test_a_start_that_could_not_work_is_refused(tmp_path, options, message):
    result = CliRunner().invoke(app, ["label", "start", str(tmp_path), *options])
    assert result.exit_code != 0
    assert message in " ".join(result.output.split())


def test_a_dicomweb_servers_choice_is_handed_on():
    conf = dicomweb_conf(["MR", "CT"], ["StudyDescription=*heart*", "PatientID=1=7"], 5)
    assert conf == {
        "modalities": "MR,CT",
        "search": '{"StudyDescription": "*heart*", "PatientID": "1=7"}',
        "cache_seconds": "5",
    }
    with pytest.raises(ValueError, match="--search must be ATTRIBUTE=VALUE, got 'heart'"):
        dicomweb_conf([], ["heart"], 5)
