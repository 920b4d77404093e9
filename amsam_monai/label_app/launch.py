"""Starting the server: a folder for the app, bundles in it, and MONAI Label's own command."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from pathlib import Path

from amsam_monai.bundles.find import find_bundle
from amsam_monai.data.files.claim import claim, release
from amsam_monai.version import __version__

MAIN = '''"""Written by `amsam label`."""

from amsam_monai.label_app.app import AmsamApp  # noqa: F401
'''


def check_monailabel() -> None:
    """Refuse to serve without MONAI Label, and say how to get it.

    Raises:
        ImportError: it is not installed.
    """
    if find_spec("monailabel") is None:
        raise ImportError(
            "monailabel must be installed to serve bundles. It needs numpy below 2 and pydicom below 3, so make an "
            "environment of its own, and install this package there with the extra label, from its wheel or its "
            f'folder: pip install "amsam_monai-{__version__}-py3-none-any.whl[label]". docs/monai_label.md says more.'
        )


def prepare_app(folder: str | Path, bundles: Sequence[str | Path], *, fresh: bool = False) -> Path:
    """A folder that MONAI Label takes as an app, with copies of bundles in it, which training may change.

    Args:
        folder: made if missing; copies that are there already stay, with what they learned.
        bundles: paths or names.
        fresh: copy anew.

    Raises:
        FileNotFoundError: a bundle is not there, or has no weights.
    """
    folder = Path(folder)
    for bundle in bundles:
        root = find_bundle(bundle)
        if not (root / "models" / "model.pt").is_file():
            raise FileNotFoundError(f"{root / 'models' / 'model.pt'}: the bundle is not trained yet; train it first.")
        copy = folder / "model" / root.name
        if root == copy.resolve():
            continue
        if fresh and copy.exists():
            shutil.rmtree(copy)
        if not copy.exists():
            shutil.copytree(root, copy, ignore=shutil.ignore_patterns("eval", "data", "__pycache__", "previous"))
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "main.py").write_text(MAIN, encoding="utf-8")
    return folder


@contextmanager
def own_folders(app_dir: str | Path, studies: str | Path) -> Iterator[None]:
    """Have the app's folder, and one of studies, for this server alone: two would write over each other's lists.

    Raises:
        OSError: another server has one of them.
    """
    places = [Path(app_dir) / ".amsam-server.lock"]
    if not str(studies).startswith(("http://", "https://")):
        places.append(Path(studies) / ".amsam-server.lock")
    with ExitStack() as held:
        for place in places:
            held.callback(release, claim(place, "another label server"))
        yield


def server_command(
    app_dir: str | Path, studies: str | Path, *, host: str, port: int, conf: dict[str, str]
) -> list[str]:
    """The command that starts the server.

    Raises:
        ImportError: MONAI Label is not installed.
    """
    check_monailabel()
    options = [part for key, value in conf.items() for part in ("--conf", key, value)]
    return [
        *(sys.executable, "-m", "monailabel.main", "start_server"),
        *("--app", str(app_dir), "--studies", str(studies), "--host", host, "--port", str(port)),
        *("--uvicorn_app", "amsam_monai.label_app.server:app", *options),
    ]
