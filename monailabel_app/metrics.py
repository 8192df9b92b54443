"""Figures for a monitoring system, in Prometheus' text format; without studies, paths, persons and free text."""

from __future__ import annotations

import time
from collections import Counter as Tally
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import psutil
from fastapi import Depends, Request
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from monailabel_app import __version__
from monailabel_app.finetune.runs import last_run
from monailabel_app.registry import Registry
from monailabel_app.services import Services
from monailabel_app.storage import free_bytes

REQUEST_SECONDS = (0.005, 0.02, 0.05, 0.1, 0.3, 1, 3, 10, 30, 100)
INFERENCE_SECONDS = (0.1, 0.3, 1, 3, 10, 30, 100, 300)
STATES = ("published", "refused", "candidate")


class Metrics:
    """What is counted while the server runs; all else is looked up when somebody asks."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        told = ("route", "method", "status")
        self._requests = Counter("medgan_requests", "Requests.", told, registry=self._registry)
        self._seconds = Histogram(
            "medgan_request_seconds", "Time to the end of the answer.", ("route",),
            buckets=REQUEST_SECONDS, registry=self._registry,
        )  # fmt: skip
        self._inference = Histogram(
            "medgan_inference_seconds", "Time that a model took, without waiting.", ("model",),
            buckets=INFERENCE_SECONDS, registry=self._registry,
        )  # fmt: skip
        self._labels = Counter("medgan_labels_submitted", "Labels submitted.", ("model",), registry=self._registry)

    def request(self, method: str, route: str, status: int, seconds: float) -> None:
        """Counts a request."""
        self._requests.labels(route, method, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    @contextmanager
    def inference(self, model: str) -> Iterator[None]:
        """Takes the time of an inference that succeeds."""
        begun = time.perf_counter()
        yield
        self._inference.labels(model).observe(time.perf_counter() - begun)

    def label(self, model: str) -> None:
        """Counts a label; `model` is empty for one that names none."""
        self._labels.labels(model).inc()

    def text(self, s: Services) -> bytes:
        """All figures."""
        present = CollectorRegistry()
        present.register(_Present(s))
        return generate_latest(self._registry) + generate_latest(present)


class _Present:
    """How things are at the moment of asking."""

    def __init__(self, s: Services) -> None:
        self._s = s

    def collect(self) -> Iterable[Metric]:
        """Called by the library."""
        waiting, running = self._s.jobs.counts()
        yield _gauge("medgan_info", "The server's version.", ("version",), {(__version__,): 1})
        yield GaugeMetricFamily("medgan_inference_waiting", "Inferences that wait.", waiting)
        yield GaugeMetricFamily("medgan_inference_running", "Inferences that compute.", running)
        yield from _training(self._s)
        yield _gauge("medgan_versions", "Versions made here.", ("model", "state"), _versions(self._s.registry))
        yield _gauge("medgan_model_available", "Whether it has usable weights.", ("model",), _available(self._s))
        yield _gauge("medgan_disk_free_bytes", "Free space.", ("folder",), _free(self._s))
        yield from _process()


def _training(s: Services) -> Iterable[Metric]:
    progress, last = s.training.going_on(), last_run(s.config.runs)
    yield _gauge("medgan_training", "The run that goes on.", ("model", "state"), _state_of(progress))
    yield _gauge("medgan_training_last", "The run that began last.", ("model", "state"), _state_of(last))
    yield GaugeMetricFamily("medgan_training_waiting", "Runs that wait.", len(s.training.waiting()))


def _state_of(progress: dict[str, Any] | None) -> dict[tuple[str, ...], float]:
    return {(str(progress["model"]), str(progress["state"])): 1.0} if progress else {}


def _versions(registry: Registry) -> dict[tuple[str, ...], float]:
    counted: dict[tuple[str, ...], float] = {}
    for model in registry.models():
        tally = Tally(v.record.state for v in registry.versions(model) if v.record.origin == "finetuned")
        counted |= {(model, state): tally[state] for state in STATES}
    return counted


def _available(s: Services) -> dict[tuple[str, ...], float]:
    return {(name,): float(s.can_serve(name)) for name in s.app.infers}


def _free(s: Services) -> dict[tuple[str, ...], float]:
    return {("studies",): free_bytes(s.config.studies), ("data",): free_bytes(s.config.data)}


def _process() -> Iterable[Metric]:
    process = psutil.Process()
    with process.oneshot():
        times = process.cpu_times()
        yield GaugeMetricFamily("process_resident_memory_bytes", "Memory.", process.memory_info().rss)
        yield CounterMetricFamily("process_cpu_seconds", "Processor time.", times.user + times.system)
        yield GaugeMetricFamily("process_start_time_seconds", "Since 1970.", process.create_time())


def _gauge(name: str, about: str, labels: tuple[str, ...], values: dict[tuple[str, ...], float]) -> Metric:
    family = GaugeMetricFamily(name, about, labels=labels)
    for key, value in values.items():
        family.add_metric(key, value)
    return family


def _metrics(request: Request) -> Metrics:
    found: Metrics = request.app.state.metrics
    return found


Measured = Annotated[Metrics, Depends(_metrics)]
