"""`python -m amsam_monai.runtime MODEL IN OUT`: a file or a folder through an exported model, without torch."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from amsam_monai.data.files.images import read_image
from amsam_monai.runtime.exported import ExportedModel
from amsam_monai.segment.jobs import Job, plan


def main(arguments: list[str] | None = None) -> int:
    """Segment; the exit code is 1 where an input failed."""
    parser = argparse.ArgumentParser(prog="python -m amsam_monai.runtime", description=__doc__)
    parser.add_argument("model", metavar="MODEL", help="folder that `amsam export --format onnx` wrote")
    parser.add_argument("source", metavar="IN", help="file, DICOM folder, or folder of any of them")
    parser.add_argument("target", metavar="OUT", help="file (its ending chooses the format) or folder")
    parser.add_argument("--threads", type=int, help="of the processor")
    options = parser.parse_args(arguments)
    try:
        model = ExportedModel(options.model, threads=options.threads)
        jobs = plan(options.source, options.target)
    except (OSError, ValueError, ImportError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    failed = [job for job in jobs if not segmented(model, job)]
    return 1 if failed else 0


def segmented(model: ExportedModel, job: Job) -> bool:
    """Write the label map of one input and say so; False where it cannot be segmented."""
    try:
        image = read_image(job.source)
        path = model.save(model.segment(image), image, job.label_path(image))
    except (OSError, ValueError, ImportError, RuntimeError, MemoryError) as error:
        sys.stderr.write(f"failed: {job.source}: {str(error).removeprefix(f'{job.source}: ')}\n")
        return False
    sys.stdout.write(f"{job.source} -> {Path(path)}\n")
    return True


if __name__ == "__main__":
    sys.exit(main())
