"""The studies of a workflow: from the server into the scene, and, with consent, from the scene to the server."""

from __future__ import annotations

import re
import secrets
from dataclasses import replace
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Tuple

from .client import MedGANClient
from .connecting import Connecting
from .consents import ConsentBook, check_sizes
from .downloads import unpacked
from .errors import MedGANError, SceneProblem
from .headers import is_left_handed
from .jobs import Job, JobQueue, Tidy, Work
from .marks import PREFIX, take_file_marks, take_marks, upload_params
from .records import ConnectionReport, Sample
from .scene import Scene
from .state import Consent, Study
from .volumes import (
    SEGMENTATION,
    SERVER_VOXELS,
    UPLOAD_ID,
    SentVolume,
    check_sendable,
    forget_if_changed,
    is_changed,
    is_synthetic,
    known_id,
    load_volume,
    mark_known,
    save_volume,
    scalar_volumes,
)


class Studying(Connecting):
    """Knows which volume is at work, which segmentation belongs to it, and whether the server has it."""

    def __init__(
        self,
        client: Optional[MedGANClient] = None,
        jobs: Optional[JobQueue] = None,
        scene: Optional[Scene] = None,
        consent: Optional[Consent] = None,
        work_dir: Optional[str] = None,
    ) -> None:
        super().__init__(client, jobs, work_dir)
        self.consents = ConsentBook(consent)
        self._scene = scene or Scene()
        self._active: Any = None
        self._compared: Dict[str, Tuple[Any, bool]] = {}  # volume's ID -> what of it was looked at, and is it changed
        self._stop_observing = self._scene.on_close(self.forget_scene)

    def next_sample(self, strategy: str = "") -> Job:
        """Fetch the study that the server wants labelled and load it beside what is open. Result: the volume node."""

        def prepare() -> Work:
            client = self._server()

            def work(job: Job) -> Tuple[Sample, Path]:
                job.report(-1.0, "Asking for the next study")
                sample = client.next_sample(strategy or self._strategy(), job.token)
                return sample, unpacked(client.download_image(sample, job.report, job.token), self.folder)

            return work

        return self._start("Fetching the next study", prepare, self._open_sample)

    def open_study(self, image_id: str) -> Job:
        """Load a study of the server beside what is open, or take it up if it is open already. Result: the node."""

        def prepare() -> Work:
            client, sample = self._server(), Sample(image_id, "")
            is_open = bool(self._open_ones(image_id))

            def work(job: Job) -> Tuple[Sample, Optional[Path]]:
                if is_open:
                    return sample, None
                return sample, unpacked(client.download_image(sample, job.report, job.token), self.folder)

            return work

        return self._start(f"Opening {image_id}", prepare, self._open_sample)

    def use_volume(self, volume: Any) -> Job:
        """Make a volume of the scene the active study. Nothing is sent. Result: the `Study`."""

        def finish(nothing: Any) -> Study:
            if volume not in scalar_volumes(self._scene):
                check_sendable(volume)
                raise SceneProblem("The volume is not in the scene any more.", "Choose another one.")
            take_file_marks(volume)
            study = self._activate(volume)  # also one that cannot be sent yet: the study before is not meant any more
            notes = [*check_sendable(volume), *_synthetic_notes(volume)]
            self._say("warning" if notes else "info", f"Working on '{study.name}'.", details=notes)
            return study

        title = "Choosing the volume"
        return self._jobs.submit(lambda job: None, on_error=self._tell, title=title, finish=finish, at_once=True)

    def upload_study(self, image_id: str = "") -> Job:
        """Add the active volume to the server's studies, after consent, so that it can be submitted and trained on.

        Args:
            image_id: Name at the server; by default a random one (never the volume's name).

        Result: the id.
        """

        def prepare() -> Work:
            client, volume = self._server(), self._volume()
            file = self._outgoing(volume, stored=True)
            name, mark, sent = image_id or self._upload_id(volume), upload_params(volume), SentVolume.of(volume)
            return Tidy([file], lambda job: (sent, client.upload_image(file, name, job.report, job.token, mark)))

        def finish(answer: Tuple[SentVolume, str]) -> str:
            self._now_known(*answer)
            mark = ", marked as synthetic" if is_synthetic(answer[0].volume) else ""
            self._say("success", f"The volume is one of the server's studies now{mark}.")
            return answer[1]

        return self._start("Sending the volume", prepare, finish)

    def look_at_study(self) -> None:
        """Keep `state.study` true when the volume's voxels were edited, or put back; call it from a timer."""
        study = self.state.study
        if study and self._scene.has(self._active) and self._known_id(self._active) != study.image_id:
            self._activate(self._active)

    def forget_scene(self) -> None:
        """Let go of the study; called by itself when the scene is closed."""
        self._active = None
        self._compared.clear()
        self._update(study=None, last_result=None)

    def close(self) -> None:
        """Cancel everything, stop the workers and remove the files in transit."""
        self._stop_observing()
        super().close()

    def _connected(self, outcome: Tuple[Optional[MedGANClient], ConnectionReport]) -> ConnectionReport:
        """Look the study up again: another server knows it by another id, or not at all."""
        report = super()._connected(outcome)
        if self._scene.has(self._active):
            self._activate(self._active)
        return report

    def _volume(self) -> Any:
        if not self._scene.has(self._active):
            raise SceneProblem("No volume is chosen.", "Choose a volume, or take the server's next study.")
        return self._active

    def _open_ones(self, image_id: str) -> List[Any]:
        """Return the volumes that are a study of the server, voxel by voxel; a changed copy of it is none."""
        address = self._server().address
        known = [volume for volume in scalar_volumes(self._scene) if known_id(volume, address) == image_id]
        return [volume for volume in known if not forget_if_changed(volume)]

    def _open_sample(self, fetched: Tuple[Sample, Optional[Path]]) -> Any:
        sample, path = fetched
        open_ones, before = self._open_ones(sample.id), self._active
        try:
            volume = open_ones[0] if open_ones else self._load_sample(sample, path)
        finally:
            if path is not None and path.parent == self.folder:
                path.unlink()
        self._activate(volume)
        opened = f"Study '{volume.GetName()}' {'is open already' if open_ones else 'is open'}."
        self._update(offered=sample)
        left = self._unsubmitted(before) if before is not volume and self._scene.has(before) else ()
        self._say("warning" if left else "info", opened, sample.reason, left)
        return volume

    def _unsubmitted(self, volume: Any) -> Tuple[str, ...]:
        """Return what is to be said of a study that is left; later layers know of its label."""
        return ()

    def _load_sample(self, sample: Sample, path: Optional[Path]) -> Any:
        if path is None:
            raise SceneProblem("The study was closed meanwhile.", "Open it again.")
        name = re.sub(r"\.\w+(\.gz)?$", "", sample.name) or sample.id
        volume = load_volume(path, name, self._scene)
        mark_known(volume, self._server().address, sample.id, is_left_handed(path))
        take_marks(volume, path)
        if is_synthetic(volume):
            volume.SetName(self._scene.mrml.GenerateUniqueName(PREFIX + volume.GetName()))
        return volume

    def _activate(self, volume: Any) -> Study:
        segmentation = self._segmentation(volume)
        study = Study(
            volume.GetID(),
            volume.GetName(),
            self._known_id(volume),
            segmentation.GetID() if segmentation else "",
        )
        self._active = volume
        self._update(study=study)
        return study

    def _known_id(self, volume: Any) -> str:
        """Return the server's id of a volume; empty also while its voxels are not those that the server has."""
        known = known_id(volume, self._client.address) if self._client else ""
        return "" if known and self._changed(volume) else known

    def _changed(self, volume: Any) -> bool:
        """Whether a volume's voxels were changed; they are read only when something may have happened to them."""
        image = volume.GetImageData()
        if image is None:
            return True
        looked_at = (image.GetMTime(), volume.GetAttribute(SERVER_VOXELS))
        known = self._compared.get(volume.GetID())
        if known is None or known[0] != looked_at:
            known = self._compared[volume.GetID()] = looked_at, is_changed(volume)
        return known[1]

    def _segmentation(self, volume: Any) -> Any:
        """Return the segmentation that runs on a volume go to, or None when there is none yet."""
        return volume.GetNodeReference(SEGMENTATION)

    def _outgoing(self, volume: Any, stored: bool) -> Path:
        """Write a volume to a file that may be sent: after a look at it, the limits, and the user's consent."""
        return self._all_outgoing({"": volume}, stored)[""]

    def _all_outgoing(self, volumes: Mapping[str, Any], stored: bool) -> Dict[str, Path]:
        """Write volumes to files that may be sent, after one question for all; by name, all or none of them."""
        for volume in volumes.values():
            check_sendable(volume)
            take_file_marks(volume)
        check_sizes(volumes.values(), self.state.server)
        if volumes:
            self.consents.ensure(self._server().address, list(volumes.values()), stored)
        files: Dict[str, Path] = {}
        try:
            for name, volume in volumes.items():
                files[name] = self.folder / f"{secrets.token_hex(8)}.nrrd"
                save_volume(volume, files[name])
        except MedGANError:
            for file in files.values():
                file.unlink(missing_ok=True)
            raise
        return files

    def _upload_id(self, volume: Any) -> str:
        """Return the id under which a volume is uploaded; the same one when an upload has to be tried again."""
        if not volume.GetAttribute(UPLOAD_ID):
            volume.SetAttribute(UPLOAD_ID, f"study-{secrets.token_hex(8)}")
        return str(volume.GetAttribute(UPLOAD_ID))

    def _now_known(self, sent: SentVolume, image_id: str) -> None:
        """Note the server's id of a volume as it was sent, however it was moved or changed since."""
        volume, address = sent.volume, self._server().address
        if known_id(volume, address) != image_id:
            mark_known(volume, address, image_id, sent=sent)
        if self.state.study and self.state.study.volume_id == volume.GetID():
            self._update(study=replace(self.state.study, image_id=image_id))


def _synthetic_notes(volume: Any) -> List[str]:
    if not is_synthetic(volume):
        return []
    return [
        f"'{volume.GetName()}' was made by a model; it is not an acquired image. "
        "If you submit it, the server keeps it marked as synthetic."
    ]
