"""The training of a mean: each member by its own bundle, then one model."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ignite.engine import Engine, State

from amsam_monai.bundles.members import join_models, member_settings, split_model
from amsam_monai.bundles.model_file import read_model
from amsam_monai.bundles.refining import detector_stays
from amsam_monai.bundles.run import run_training
from amsam_monai.data.files.atomic import whole_file
from amsam_monai.keys import CASE_ID

logger = logging.getLogger(__name__)


class MembersTrainer(Engine):
    """Train the members of a mean one after the other, and write their models as one.

    An iteration is the training of a member, an epoch that of all; the loss is a member's last. What was interrupted
    goes on with the member that it was at.

    Args:
        folder: of the members' bundles.
        members: their names.
        sections: cases of "train", "val" and "test".
        ckpt_dir: where the model goes, and the detector of the member that has one.
        output_dir: folder below which the members train.
        configs: of each training, see `run_training`.
        start: a model of the mean to go on from; a detector then stays. None is from the beginning.
        max_epochs: of each training.
        overrides: further ones, of all members.
        train_handlers: of this engine.
    """

    def __init__(
        self,
        folder: str | Path,
        members: Sequence[str],
        sections: Mapping[str, Any],
        ckpt_dir: str | Path,
        output_dir: str | Path,
        *,
        configs: Sequence[str] = ("train",),
        start: str | Path | None = None,
        max_epochs: int = 1,
        overrides: Mapping[str, Any] | None = None,
        train_handlers: Sequence[Any] = (),
    ) -> None:
        super().__init__(self._train)
        self.members, self.sections = [Path(folder) / member for member in members], sections
        self.path, self.work = Path(ckpt_dir) / "model.pt", Path(output_dir) / "members"
        self.configs, self.start = configs, start
        self.overrides = {"max_epochs": max_epochs, **(overrides or {})}
        for handler in train_handlers:
            handler.attach(self)

    def run(self, *_: Any, **__: Any) -> State:
        """Train all, write the model, and remove the members' own.

        Raises:
            ValueError: no members.
        """
        if not self.members:
            raise ValueError("members must name bundles in members/, got none; build the bundle with `amsam train`.")
        roots = [self.work / member.name for member in self.members]
        self._stays: list[dict[str, Any]] = [{} for _ in roots]
        if self.start is not None:
            self._stays = [detector_stays(one) for one in member_settings(read_model(self.start).settings)]
            models = [root / "models" / "model.pt" for root in roots]
            if not all(model.is_file() for model in models):
                split_model(self.start, models)
        state = super().run(range(len(roots)), max_epochs=1)
        join_models([root / "models" / "model.pt" for root in roots], self.path)
        shutil.rmtree(self.work)
        return state

    def _train(self, engine: Engine, at: int) -> dict[str, float]:
        member, root = self.members[at], self.work / self.members[at].name
        cases = sorted(str(case[CASE_ID]) for case in self.sections["train"])
        told = json.dumps([list(self.configs), self.overrides, cases], default=str)
        finished = root / "finished.json"
        if finished.is_file() and (known := json.loads(finished.read_text(encoding="utf-8")))["told"] == told:
            return {"loss": known["loss"]}
        overrides = self.overrides | self._stays[at]
        result = run_training(member, configs=self.configs, datalist=self.sections, root=root, overrides=overrides)
        loss = result.losses[-1]
        with whole_file(finished) as partial:
            Path(partial).write_text(json.dumps({"told": told, "loss": loss}), encoding="utf-8")
        logger.info("member %s is trained", member.name)
        return {"loss": loss}
