"""Reconstructing: a finer, cleaner or fused image of one or several volumes, put beside them and undone in one step."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional

from .downloads import unpack_parts
from .errors import NotFound, SceneProblem
from .jobs import Job, Tidy, Work
from .kspace import KSpaceFile, check_kspace
from .placing import place_reconstruction, remove_reconstruction
from .reconstructions import Reconstruction
from .records import InferResult, ModelInfo
from .state import counted
from .synthesising import Synthesising
from .volumes import affine, check_sendable, dimensions, forget_if_changed, known_id, same_affine, server_affine

FIRST = "image"
"""The server's name for the image that travels as the file of the request, or as the study's id."""


class Reconstructing(Synthesising):
    """Sends a model's inputs, shows what it gives, and remembers how to undo it."""

    def __init__(self, *args: Any, **more: Any) -> None:
        self._reconstructions: List[Reconstruction] = []
        super().__init__(*args, **more)

    def reconstruct(self, model: str, volumes: Mapping[str, Any], options: Optional[Mapping[str, Any]] = None) -> Job:
        """Run a reconstruction model; image and uncertainty appear beside the volumes. Result: `Reconstruction`.

        A study that came from the server is not sent again; any other volume is sent after consent, asked once for all.
        A file of k-space is sent as it is, after a consent of its own; its image lies beside no volume.

        Args:
            model: The model's name.
            volumes: Input's name -> volume node, see `ModelInfo.input_names`; or -> `KSpaceFile`, where the model
                takes one, see `ModelInfo.kspace_inputs`.
            options: Options by the model's schema.
        """
        begun = time.monotonic()
        context: Dict[str, Any] = {}

        def prepare() -> Work:
            description = self._reconstruction_model(model)
            context.update(model=description, inputs=chosen_inputs(description, volumes), closed=self._scenes_closed)
            return self._run_on(description, context["inputs"], dict(options or {}))

        def finish(result: InferResult) -> Reconstruction:
            try:
                job.token.raise_if_cancelled()
                self._check_scene(context["inputs"], context["closed"])
                return self._show_reconstruction(result, context["model"], context["inputs"], begun)
            finally:
                for part in result.parts:
                    part.path.unlink()

        job = self._start("Reconstructing", prepare, finish)
        return job

    def undo_reconstruction(self) -> bool:
        """Take the last reconstruction out of the scene in one step; return False when there is none."""
        if not self._reconstructions:
            return False
        last = self._reconstructions.pop()
        remove_reconstruction(last, self._scene)
        self._update(reconstruction=self._reconstructions[-1] if self._reconstructions else None)
        self._say("info", f"The last result of {last.model.title} was taken out of the scene.")
        return True

    def forget_scene(self) -> None:
        """Let go of the scene's nodes; called by itself when the scene is closed."""
        self._reconstructions.clear()
        self.state.reconstruction = None
        super().forget_scene()

    def _reconstruction_model(self, name: str) -> ModelInfo:
        model = self._model(name)
        if not model.reconstructs:
            raise NotFound(f"'{model.title}' makes no better images.", "Choose a reconstruction model.")
        return model

    def _run_on(self, model: ModelInfo, inputs: Mapping[str, Any], options: Dict[str, Any]) -> Work:
        client, volumes = self._server(), nodes_of(inputs)
        raw = self._raw_outgoing(inputs)
        ids = {name: self._id_as_it_is(volume) for name, volume in volumes.items()}
        written = self._all_outgoing({name: volumes[name] for name in volumes if not ids[name]}, stored=False)
        files = {**raw, **written}
        further = {name: image_id for name, image_id in ids.items() if image_id and name != FIRST}

        def work(job: Job) -> InferResult:
            result = client.infer(
                model.name,
                self.folder,
                image_id=ids.get(FIRST, ""),
                file=files.get(FIRST),
                inputs={name: file for name, file in files.items() if name != FIRST},
                options={**options, **further},
                result_extension=".zip",
                progress=job.report,
                cancel=job.token,
            )
            return unpack_parts(result, self.folder)

        return Tidy(list(written.values()), work)

    def _raw_outgoing(self, inputs: Mapping[str, Any]) -> Dict[str, Path]:
        """Return the files of k-space that may be sent: after a look at them, and the user's consent."""
        raw = {name: source for name, source in inputs.items() if isinstance(source, KSpaceFile)}
        for file in raw.values():
            check_kspace(file, self.state.server)
            self.consents.ensure_raw(self._server().address, file)
        return {name: file.path for name, file in raw.items()}

    def _id_as_it_is(self, volume: Any) -> str:
        """Return the server's id of a volume that is the same there, voxels and place; empty when it must be sent."""
        forget_if_changed(volume)
        address = self._server().address
        moved = not same_affine(affine(volume), server_affine(volume, address), dimensions(volume))
        return "" if moved else known_id(volume, address)

    def _check_scene(self, inputs: Mapping[str, Any], closed: int) -> None:
        """Refuse what belongs to a scene that was closed, where no volume tells: an image made of k-space."""
        if not nodes_of(inputs) and closed != self._scenes_closed:
            raise SceneProblem("The scene was closed meanwhile; the result is not shown.", "Run the model again.")

    def _check_there(self, inputs: Mapping[str, Any]) -> None:
        if not all(self._scene.has(volume) for volume in inputs.values()):
            raise SceneProblem("A volume was removed meanwhile; the result is not shown.", "Run the model again.")

    def _show_reconstruction(
        self, result: InferResult, model: ModelInfo, inputs: Mapping[str, Any], begun: float
    ) -> Reconstruction:
        volumes = nodes_of(inputs)
        self._check_there(volumes)
        made = place_reconstruction(result, model, volumes, self._scene)
        self._reconstructions.append(made)
        self._update(reconstruction=made)
        kind = "warning" if made.warnings else "success"
        text = f"{model.title}: 1 image in {time.monotonic() - begun:.1f} s."
        self._say(kind, text, details=made.warnings)
        return made


def chosen_inputs(model: ModelInfo, volumes: Mapping[str, Any]) -> Dict[str, Any]:
    """Return the volumes, and files of k-space, by the model's names, in its order.

    Raises:
        SceneProblem, TransformedVolume: One is missing or cannot be sent, or one is there twice.
    """
    strange = set(volumes) - set(model.input_names)
    if strange:
        raise SceneProblem(f"'{model.title}' has no input '{sorted(strange)[0]}'.", "Choose the model again.")
    chosen: Dict[str, Any] = {}
    for name in model.input_names:
        chosen[name] = volumes.get(name)
        if chosen[name] is None:
            needed = counted(len(model.input_names), "volume")
            raise SceneProblem(f"No volume is chosen for '{name}'.", f"'{model.title}' needs {needed}.")
        if not isinstance(chosen[name], KSpaceFile):
            check_sendable(chosen[name])
        elif name not in model.kspace_inputs:
            raise SceneProblem(f"'{model.title}' takes no k-space.", "Choose a volume.")
    nodes = nodes_of(chosen)
    if len({volume.GetID() for volume in nodes.values()}) < len(nodes):
        raise SceneProblem("The same volume is chosen twice.", "Choose another one for one of the inputs.")
    return chosen


def nodes_of(inputs: Mapping[str, Any]) -> Dict[str, Any]:
    """Return the volumes among the inputs, without files of k-space."""
    return {name: source for name, source in inputs.items() if not isinstance(source, KSpaceFile)}
