"""MedGAN's FastAPI application: `--uvicorn_app monailabel_app.server:app`."""

from __future__ import annotations

import logging
import shutil
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import anyio.to_thread
from fastapi import FastAPI
from fastapi.middleware.cors import CORSMiddleware
from monailabel.config import settings
from monailabel.interfaces.utils.app import app_instance

from monailabel_app import __version__, dicom, errors, processes
from monailabel_app.config import ServerConfig
from monailabel_app.dicom.pull import follow
from monailabel_app.limits import BodyLimit
from monailabel_app.login import Login
from monailabel_app.main import MedGANApp
from monailabel_app.metrics import Metrics
from monailabel_app.routes import ROUTERS
from monailabel_app.security import Guard
from monailabel_app.services import Services
from monailabel_app.tracing import Trace

logger = logging.getLogger(__name__)
METHODS = ("scoring", "batch_infer")  # beside training, whose queue ends it
SWITCH_SECONDS = 0.0005  # after which a thread that computes lets others on; Python's default is 0.005
TIDY_SECONDS = 60.0
THREADS = 32  # beside those that wait for their turn to compute


def create_app(config: ServerConfig) -> FastAPI:
    """Builds the application; studies and models are opened when it starts."""
    told: dict[int | str, dict[str, Any]] = {"default": {"model": errors.ErrorAnswer, "description": "An error"}}
    api = FastAPI(
        title="MedGAN", version=__version__, docs_url=None, redoc_url=None, lifespan=_lifespan, responses=told
    )
    errors.install(api)
    for router in ROUTERS:
        api.include_router(router)
    api.state.config, api.state.login, api.state.metrics = config, Login.of(config), Metrics()
    _add_middleware(api, config)
    return api


def _add_middleware(api: FastAPI, config: ServerConfig) -> None:
    """The innermost first."""
    login, rate = api.state.login, config.rate_limit
    api.add_middleware(errors.LastResort)
    routes = [route for router in ROUTERS for route in router.routes]
    api.add_middleware(BodyLimit, megabytes=config.max_upload_mb, routes=routes)
    api.add_middleware(Guard, login=login, loopback=config.loopback, origins=config.cors, rate=rate)
    if config.cors:
        methods, headers = ["GET", "HEAD", "POST", "PUT", "DELETE"], ["Authorization", "Content-Type"]
        api.add_middleware(CORSMiddleware, allow_origins=config.cors, allow_methods=methods, allow_headers=headers)
    api.add_middleware(Trace, counter=api.state.metrics)


@asynccontextmanager
async def _lifespan(api: FastAPI) -> AsyncIterator[None]:
    config: ServerConfig = api.state.config
    sys.setswitchinterval(SWITCH_SECONDS)
    limiter = anyio.to_thread.current_default_thread_limiter()
    limiter.total_tokens = THREADS + config.max_queue
    services = await anyio.to_thread.run_sync(_open, config)
    limiter.total_tokens += services.jobs.most
    api.state.services = services
    with services.followers.until_the_end():
        async with anyio.create_task_group() as group:
            group.start_soon(_tidy, services)
            yield
            group.cancel_scope.cancel()
    await anyio.to_thread.run_sync(_close, api.state.services)


async def _tidy(services: Services) -> None:
    """Removes images that clients left behind, now and then."""
    while True:
        with suppress(OSError):
            await anyio.to_thread.run_sync(services.sessions.remove_expired)
        await anyio.sleep(TIDY_SECONDS)


def _open(config: ServerConfig) -> Services:
    """Opens studies and models, and puts in order what an earlier start left."""
    config.prepare()
    _clear(config)
    dicom.import_series(config.studies, config.data)
    follow(config)
    app: MedGANApp = app_instance()
    app.server_mode(True)
    app.on_init_complete()
    for model in app.registry.models():
        with app.registry.lock(model):
            app.registry.remove_unfinished(model)
    if config.preload:
        threading.Thread(target=app.preload, name="preload", daemon=True).start()
    services = Services.of(app)
    services.training.open()
    if services.scoring:
        services.scoring.start()
    return services


def _close(services: Services) -> None:
    """Ends the processes that were started: the server does not exit before they do."""
    if services.scoring:
        services.scoring.stop()
    services.training.close()
    for method in METHODS:
        task = processes.active(method)
        if task:
            processes.kill(method, task)
    _clear(services.config)


def _clear(config: ServerConfig) -> None:
    shutil.rmtree(config.temporary, ignore_errors=True)
    config.prepare()


def __getattr__(name: str) -> Any:
    """Builds `app` when uvicorn asks for it: MONAI Label has its settings by then."""
    if name != "app":
        raise AttributeError(name)
    return create_app(ServerConfig.from_conf(settings.MONAI_LABEL_STUDIES, settings.MONAI_LABEL_APP_CONF))
