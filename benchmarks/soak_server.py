"""As `soak`, for the real server: two clients work with it while it scores and trains, until it is killed."""

from __future__ import annotations

import json
import random
import shutil
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import psutil

from benchmarks.ledger import ANY, Facts, Tally, differences
from benchmarks.soak import NEW, Place, facts_of, left_over, promoted, state_of
from demo.server import server_process
from monailabel_app.activelearning.scores import SCORES
from monailabel_app.config import SHIPPED_MODELS
from monailabel_app.datastore import FINAL, StudyDatastore
from monailabel_app.finetune.runs import run_names
from monailabel_app.history import sha256

MODEL = "hippocampus_segmentation"
WORKS_SECONDS, TRAINS_SECONDS = 6.0, 90.0  # until a kill, at most; until a run trains
GONE_SECONDS = 120.0  # a training process that is still being loaded ends when it has been
TRAINING = ("training", "validating")
WAITS = 0.05


@dataclass
class Client:
    """One who works with the server until it is gone.

    Attributes:
        url: the server's. place: its folders. seed: of chance.
        facts: what was acknowledged. begun: what was asked for and not answered. kind: its name.
        done: names of what was acknowledged.
    """

    url: str
    place: Place
    seed: int
    facts: Facts = field(default_factory=dict)
    begun: Facts = field(default_factory=dict)
    kind: str = ""
    done: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.random, self.number = random.Random(self.seed), time.time_ns()
        self.http = httpx.Client(base_url=self.url, timeout=60)
        self.reference = self.place.folder / "models" / MODEL / "reference"
        self.studies = sorted(p.name[: -len(".nii.gz")] for p in (self.reference / "images").glob("*.nii.gz"))

    def work(self, *tasks: Callable[[], None]) -> None:
        """Does one task after another until the server does not answer any more."""
        while True:
            self.number += 1
            try:
                self.random.choice(tasks)()
            except httpx.TransportError:
                return
            time.sleep(WAITS)

    def submit(self) -> None:
        """A label."""
        study = self.random.choice(self.studies)
        file = self.reference / "labels" / f"{study}.nii.gz"
        form = {"params": json.dumps({"number": self.number, "model": MODEL, "author": "Dr S"})}
        with file.open("rb") as stream:
            self._ask(
                "label", {f"label {study}": self.number}, "PUT", "/datastore/label",
                params={"image": study, "tag": FINAL}, data=form, files={"label": (file.name, stream)},
            )  # fmt: skip

    def remove(self) -> None:
        """A label goes."""
        study = self.random.choice(self.studies)
        query = {"id": study, "tag": FINAL}
        self._ask("remove label", {f"label {study}": None}, "DELETE", "/datastore/label", params=query)

    def tell(self) -> None:
        """Something becomes known of a study."""
        study = self.random.choice(self.studies)
        form = {"info": json.dumps({"score": self.number})}
        facts = {f"score {study}": self.number}
        self._ask("score", facts, "PUT", "/datastore/image/info", params={"image": study}, data=form)

    def add_study(self) -> None:
        """A new study."""
        name, file = f"{NEW}{self.number}", self.reference / "images" / f"{self.studies[0]}.nii.gz"
        with file.open("rb") as stream:
            self._ask(
                "study", {f"image {name}": sha256(file)}, "PUT", "/datastore/image",
                params={"image": name}, files={"file": (file.name, stream)},
            )  # fmt: skip

    def serve(self) -> None:
        """Another version serves."""
        name = self.random.choice(("v0001", "v0002"))
        self._ask("serve", {"current": name}, "PUT", f"/models/{MODEL}/current", json={"version": name})

    def train(self) -> None:
        """A training run is asked for."""
        answer = self._ask("ask for a run", {"run": ANY}, "POST", f"/train/{MODEL}", json={})
        if answer.status_code == 200:
            self.facts[f"run {answer.json()['medgan']['run']}"] = ANY

    def _ask(self, kind: str, facts: Facts, method: str, path: str, **more: object) -> httpx.Response:
        self.kind, self.begun = kind, facts
        answer: httpx.Response = self.http.request(method, path, **more)  # type: ignore[arg-type]
        if answer.status_code == 200:
            self.facts |= {key: value for key, value in facts.items() if key != "run"}
            self.done.append(f"server: {kind}")
        self.kind, self.begun = "", {}
        return answer


def make(folder: Path) -> Place:
    """A site with the shipped model, two versions of it, and its reference images as studies."""
    place = Place(folder, MODEL)
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(SHIPPED_MODELS / MODEL, folder / "models" / MODEL)
    shutil.copytree(folder / "models" / MODEL / "reference" / "images", folder / "studies")
    place.runs.mkdir(parents=True)
    promoted(place.registry(), MODEL, "soak")
    return place


def measure(kills: int, folder: Path, seed: int = 0, tally: Tally | None = None) -> Tally:
    """Kills a server again and again, and looks each time, through the next one and beside it.

    Args:
        kills: how often.
        folder: for the site; made anew.
        seed: of chance.
        tally: is added to.
    """
    folder = folder.resolve()
    place, tally, chance = make(folder), tally or Tally(), random.Random(seed)
    expected, begun, killed = Facts(), Facts(), 0.0
    for number in range(kills + 1):
        started = time.perf_counter()
        log = folder / "server.txt"
        with server_process(
            folder / "studies", log, "--data", str(place.data), "--models", str(folder / "models"), "--rate-limit", "0"
        ) as (url, process):
            tally.seconds["server"].append(time.perf_counter() - started)
            found = look(place, tally, killed)
            if number:
                tally.lost += [f"server: {text}" for text in differences(expected, found, begun)]
            if number == kills:
                break
            clients = [Client(url, place, seed + 2 * number + k) for k in (0, 1)]
            _work_until_killed(psutil.Process(process.pid), clients, place, chance, tally)
            killed = time.time()
        expected = {**found, **clients[0].facts, **clients[1].facts}
        expected |= {key: ANY for key in expected if key.startswith("run ")}
        begun = {**clients[0].begun, **clients[1].begun, "scored": True, **_by_runs(place)}
    return tally


def _work_until_killed(
    server: psutil.Process, clients: list[Client], place: Place, chance: random.Random, tally: Tally
) -> None:
    clerk, head = clients
    tasks = [
        (clerk, (clerk.submit, clerk.submit, clerk.remove, clerk.tell, clerk.add_study)),
        (head, (head.serve, head.train)),
    ]
    threads = [threading.Thread(target=client.work, args=work, daemon=True) for client, work in tasks]
    for thread in threads:
        thread.start()
    if chance.random() < 0.4:
        _until_training(place)
    time.sleep(chance.uniform(0.2, WORKS_SECONDS))
    children, trains = server.children(recursive=True), _is_training(place)
    server.kill()
    for thread in threads:
        thread.join(60)
    kind = "a run" if trains else clerk.kind or head.kind or "scoring or nothing"
    tally.kills[f"server: {kind}"] += 1
    tally.done.update([*clerk.done, *head.done])
    _, alive = psutil.wait_procs(children, GONE_SECONDS)
    tally.lost += [f"server: a process outlived it: {' '.join(child.cmdline())[:80]}" for child in alive]


def _is_training(place: Place) -> bool:
    return any(state_of(place.runs, name) in TRAINING for name in run_names(place.runs))


def _until_training(place: Place) -> None:
    end = time.monotonic() + TRAINS_SECONDS
    while time.monotonic() < end and not _is_training(place):
        time.sleep(0.2)


def look(place: Place, tally: Tally, killed: float) -> Facts:
    """What is so, seen by a second process beside the server, and what the kill left behind."""
    tally.lost += [f"server: {path.name} stays in {path.parent.name}" for path in left_over(place, killed)]
    store: StudyDatastore = place.store()
    facts = facts_of(place, store, tally)
    facts |= {f"scored {name}": True for name in store.list_images() if SCORES in store.get_image_info(name)}
    store.close()
    return facts


def _by_runs(place: Place) -> Facts:
    """Versions that training runs have made, which may serve too."""
    runs = set(run_names(place.runs))
    made = [version.name for version in place.registry().versions(MODEL) if version.record.run in runs]
    return {**{f"version {name}": ANY for name in made}, **({"current": ANY, "version": ANY} if made else {})}
