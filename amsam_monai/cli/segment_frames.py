"""`amsam segment --frames`: folders of video frames through a bundle."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from amsam_monai.segment.segmenter import Segmenter


def segment_frames(segmenter: Segmenter, source: Path, target: Path, *, memory: float, rate: float) -> None:
    """Segment every clip below `source` and print what was written.

    Args:
        segmenter: of a bundle.
        source: folder of frames, or of such folders.
        target: gets <clip>/<frame>.png, <clip>/mask.mp4 and <clip>/overlay.mp4.
        memory: how much of the past a frame keeps, see `FrameSegmenter`.
        rate: frames per second of the films.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from amsam_monai.segment.frames import FrameSegmenter, find_clips

    run = FrameSegmenter(segmenter, memory=memory, rate=rate, films=True)
    clips = find_clips(source)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        for clip in clips:
            task = progress.add_task(clip.name, total=len(clip.frames))
            run(clip, target, progress=lambda done, task=task: progress.update(task, completed=done))  # type: ignore[misc]
            progress.remove_task(task)
    frames = sum(len(clip.frames) for clip in clips)
    Console(soft_wrap=True).print(f"{frames} frames of {len(clips)} clips segmented: {target}", markup=False)
