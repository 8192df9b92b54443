"""The routes, one file an area. All are plain functions, so that the server answers others while one computes."""

from __future__ import annotations

from fastapi import APIRouter

from monailabel_app.routes import (
    activelearning,
    auth,
    batch,
    dicom,
    history,
    images,
    infer,
    info,
    jobs,
    labels,
    logs,
    monitoring,
    scoring,
    serving,
    sessions,
    train,
    verdicts,
    versions,
)

STUDIES = (images, labels, history, verdicts, activelearning, scoring)
AREAS = (info, monitoring, auth, infer, jobs, *STUDIES, train, batch, sessions, versions, serving, dicom, logs)
ROUTERS: tuple[APIRouter, ...] = tuple(area.router for area in AREAS)
