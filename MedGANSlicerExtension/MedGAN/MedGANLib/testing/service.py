"""The routes of the test server that are about the service around the models: runs, versions, reviews, histories."""

from __future__ import annotations

import json
import time
from typing import Any, Dict, Iterator, Mapping

from .world import Refusal, World

SERVICE_ROUTES = (
    ("GET", r"/serving", "serving"),
    ("GET", r"/review/([^/]+)", "review"),
    ("GET", r"/train/events", "train_events"),
    ("GET", r"/train/runs", "train_runs"),
    ("DELETE", r"/train/runs/([^/]+)", "train_cancel"),
    ("GET", r"/datastore/label/history", "label_history"),
    ("POST", r"/datastore/label/restore", "restore_label"),
    ("POST", r"/datastore/label/undo", "undo_label"),
)
"""Method, path and handler; older servers have none of them."""


class ServiceRoutes:
    """A part of the handler of one request."""

    world: World
    query: Dict[str, str]

    def _json(self, content: Any, status: int = 200) -> None:
        raise NotImplementedError

    def _send_events(self, documents: Iterator[Any]) -> None:
        raise NotImplementedError

    def serving(self, body: bytes) -> None:
        """GET /serving."""
        self._json(self.world.serving_json())

    def review(self, model: str, body: bytes) -> None:
        """GET /review/{model}."""
        self._json(self.world.review_json(model))

    def train(self, model: str, body: bytes) -> None:
        """POST /train/{model}."""
        asked = json.loads(body or b"{}")
        self.world.train_requests.append(asked)
        run = self.world.start_training(model, str(asked.get("author", "")))
        self._json(self.world.training_json(run))

    def train_status(self, body: bytes) -> None:
        """GET /train/; every question moves the run one epoch on."""
        self.world.advance()
        if "check_if_running" in self.query and not (self.world.run and self.world.run.running):
            raise Refusal(404, "no_training", "Nothing is being trained.")
        self._json(self.world.training_json())

    def train_stop(self, body: bytes) -> None:
        """DELETE /train/."""
        if self.world.run and self.world.run.running:
            self.world.run.state = "cancelled"
        self._json(self.world.training_json())

    def versions(self, model: str, body: bytes) -> None:
        """GET /models/{name}/versions."""
        self._json(
            {"model": model, "current": self.world.current, "versions": [v.to_json() for v in self.world.versions]}
        )

    def set_current(self, model: str, body: bytes) -> None:
        """PUT /models/{name}/current."""
        wanted = json.loads(body or b"{}")
        version = self.world.find(str(wanted.get("version")))
        if version.state == "refused" and not wanted.get("force"):
            raise Refusal(409, "conflict", f"Version {version.name} was refused.", "Send force to serve it anyway.")
        self.world.current = version.name
        self.versions(model, body)

    def train_events(self, body: bytes) -> None:
        """GET /train/events; every event moves the run one epoch on."""
        self.world.advance()
        self.world.training_json()  # so that there is one
        self._send_events(self._training_events())

    def _training_events(self) -> Iterator[Any]:
        yield self.world.training_json()
        while (self.world.run and self.world.run.running) or self.world.queue:
            time.sleep(self.world.pace)
            self.world.advance()
            yield self.world.training_json()

    def train_runs(self, body: bytes) -> None:
        """GET /train/runs."""
        self._json({"runs": self.world.runs_json(int(self.query.get("limit", "20")))})

    def train_cancel(self, run: str, body: bytes) -> None:
        """DELETE /train/runs/{run}."""
        self.world.cancel_run(run)
        self._json({})

    def label_history(self, body: bytes) -> None:
        """GET /datastore/label/history?label=ID."""
        name = self.query.get("label", "")
        if name not in self.world.book.changes:
            raise Refusal(404, "unknown_label", f"There is no label '{name}'.")
        self._json(self.world.book.to_json(name))

    def restore_label(self, body: bytes) -> None:
        """POST /datastore/label/restore?label=ID&number=N."""
        name, number = self.query.get("label", ""), int(self.query.get("number", "0"))
        self.world.labels[name] = self.world.book.restore(name, number, _author(body))
        self._json(self.world.book.to_json(name))

    def undo_label(self, body: bytes) -> None:
        """POST /datastore/label/undo?label=ID."""
        name = self.query.get("label", "")
        content = self.world.book.undo(name, _author(body))
        self.world.labels.pop(name, None)
        if content is not None:
            self.world.labels[name] = content
        self._json(self.world.book.to_json(name))


def _author(body: bytes) -> str:
    said: Mapping[str, Any] = json.loads(body or b"{}")
    return str(said.get("author") or "")
