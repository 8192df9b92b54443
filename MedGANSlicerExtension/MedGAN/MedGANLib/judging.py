"""Judging: whole studies are called normal or abnormal, which anomaly models learn from."""

from __future__ import annotations

from typing import Any, Dict, Mapping, Optional, Tuple

from .detecting import Detecting
from .errors import SceneProblem
from .jobs import Job, Tidy, Work
from .learning import SYNTHETIC_NOTE, upload_once
from .marks import upload_params
from .verdicts import ABNORMAL, NONE, NORMAL, MarkedStudies
from .volumes import SentVolume, check_sendable, forget_if_changed, is_synthetic, known_id

WORDS = {NORMAL: "The study is marked normal.", ABNORMAL: "The study is marked abnormal."}
HINT = "Training uses the marked studies."


class Judging(Detecting):
    """Sends verdicts on studies, and knows what the server has of them."""

    def mark_study(self, model: str, verdict: str, volume: Any = None) -> Job:
        """Call a study normal or abnormal, or take that back. Result: `MarkedStudies`.

        A volume that the server does not know is added to its studies first, after consent.

        Args:
            model: The anomaly model that shall learn from it.
            verdict: `normal`, `abnormal`, or empty to take it back.
            volume: A volume node; by default the active study's.
        """
        context: Dict[str, Any] = {}

        def prepare() -> Work:
            target, name = volume or self._volume(), self._detection_model(model).name
            check_sendable(target)
            forget_if_changed(target)
            context.update(sent=SentVolume.of(target))
            return self._verdict(name, verdict, target)

        def finish(answer: Mapping[str, Any]) -> MarkedStudies:
            target = context["sent"].volume
            if self._scene.has(target):
                self._now_known(context["sent"], str(answer["image"]))
            marked = self.state.marked.get(model, MarkedStudies()).after(answer)
            self._update(marked={**self.state.marked, model: marked})
            self._refresh()
            details = (SYNTHETIC_NOTE,) if verdict and is_synthetic(target) else ()
            self._say("success", WORDS.get(verdict, "The mark was taken back."), HINT if verdict else "", details)
            return marked

        return self._start("Marking the study", prepare, finish)

    def read_marks(self, model: str) -> Job:
        """Read which studies are marked for a model into `state.marked`. Result: `MarkedStudies`."""

        def finish(marked: MarkedStudies) -> MarkedStudies:
            self._update(marked={**self.state.marked, model: marked})
            return marked

        return self._ask(
            "Reading the marked studies", lambda client, token: client.marked(model, token), finish, quiet=True
        )

    def mark_of(self, model: str, volume: Any) -> Tuple[str, str]:
        """Return the id that a volume has at the server, and how it is marked for a model; empty when neither."""
        image = self._known_id(volume) if volume is not None else ""
        marked: Optional[MarkedStudies] = self.state.marked.get(model)
        return image, marked.studies.get(image, NONE) if marked else NONE

    def _verdict(self, model: str, verdict: str, volume: Any) -> Work:
        client = self._server()
        known = known_id(volume, client.address)
        if not known and not verdict:
            raise SceneProblem("The server does not know this volume.", "There is no mark to take back.")
        file = None if known else self._outgoing(volume, stored=True)
        image, mark = known or self._upload_id(volume), upload_params(volume)

        def work(job: Job) -> Mapping[str, Any]:
            if file:
                upload_once(client, file, image, job, mark)
            job.report(-1.0, "Sending the verdict")
            return {"image": image, **client.mark(model, image, verdict, job.token)}

        return Tidy([file], work)
