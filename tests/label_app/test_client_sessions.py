"""Images that clients send for themselves alone: ids that are paths and archives of other kinds, without a server."""

import io
import json
import shutil
import tarfile
import zipfile

import pytest

pytest.importorskip("monailabel", reason="needs MONAI Label (an environment of its own, see docs/monai_label.md)")
from fastapi import HTTPException, UploadFile
from monailabel.utils.sessions import Sessions

from amsam_monai.label_app import client_sessions
from amsam_monai.label_app.client_sessions import check_archive, session_of

pytestmark = pytest.mark.label


class Application:
    """What keeps sessions, as MONAI Label's app does."""

    def __init__(self, folder):
        self._sessions = Sessions(str(folder))

    def sessions(self):
        return self._sessions


def test_a_sessions_id_is_no_path_to_notes_that_a_client_sent(tmp_path):
    """Files that come together lie in a folder of the session, where they could pass for its notes."""
    application, secret = Application(tmp_path / "sessions"), tmp_path / "secret.nii.gz"
    secret.touch()
    (tmp_path / "sent").mkdir()
    notes = {"image": str(secret), "name": "x", "path": str(tmp_path), "expiry": 3600}
    (tmp_path / "sent" / "meta.info").write_text(json.dumps(notes), encoding="utf-8")
    own, about = application.sessions().add_session(str(tmp_path / "sent"))
    assert session_of(application, own).image == about.image
    inner = f"{own}/sent"
    assert application.sessions().get_session(inner).image == str(secret)  # MONAI Label itself follows it
    for session in (inner, about.image, f"../sessions/{own}", "..", "", own.upper(), f"{own}\n"):
        with pytest.raises(HTTPException, match="there is no such session") as refused:
            session_of(application, session)
        assert refused.value.status_code == 404
    shutil.rmtree(tmp_path / "sessions")
    with pytest.raises(HTTPException, match="there is no such session"):
        session_of(application, own)


def zipped(**files):
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return made.getvalue()


def test_an_archive_is_a_zip_by_name_and_content_and_of_bounded_files(monkeypatch):
    """Of a tar with a zip behind it the name would decide how it is unpacked, and tar puts files anywhere."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("../escaped"))
    both = made.getvalue() + zipped(a="0")
    assert zipfile.is_zipfile(io.BytesIO(both))
    for name in ("x.tar", "x.zip.tar", "x.ZIP", None):
        with pytest.raises(HTTPException, match=r"whose name ends in \.zip"):
            check_archive(UploadFile(io.BytesIO(both), filename=name))
    with pytest.raises(HTTPException, match="must be a zip file"):
        check_archive(UploadFile(io.BytesIO(b"PK"), filename="x.zip"))
    file = UploadFile(io.BytesIO(zipped(a="0", b="1")), filename="x.zip")
    check_archive(file)
    assert file.file.read(2) == b"PK"  # to be read from its start
    monkeypatch.setattr(client_sessions, "MOST_ENTRIES", 1)
    with pytest.raises(HTTPException, match="must hold at most 1 files, got 2") as refused:
        check_archive(file)
    assert refused.value.status_code == 413
