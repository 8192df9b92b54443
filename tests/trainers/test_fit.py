"""The loop learns, resumes exactly, averages, stops when told, and trains as several processes."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from trainers.fit import CHECKPOINT_FILE, Batch, FitConfig, Phase, TrainingTask, fit, pick_precision
from trainers.monitor import Cancelled, Monitor


class Line(TrainingTask):
    """Learns y = 3 x; small enough to check by eye."""

    key_metric = "error"
    higher_is_better = False

    def __init__(self) -> None:
        torch.manual_seed(0)
        self.networks = {"line": nn.Linear(1, 1)}

    def phases(self) -> list[Phase]:
        return [Phase("line", ("line",), self._losses)]

    def batch(self, step: int, size: int, rank: int) -> Batch:
        x = torch.randn(size, 1, generator=torch.Generator().manual_seed(1000 * rank + step))
        return {"x": x, "y": 3 * x}

    def validate(self, networks: Mapping[str, nn.Module]) -> dict[str, float]:
        return {"error": float((networks["line"](torch.ones(1, 1)) - 3).abs())}

    def _losses(self, batch: Batch) -> dict[str, torch.Tensor]:
        return {"square": (self.networks["line"](batch["x"]) - batch["y"]).square().mean()}


CONFIG = FitConfig(steps=120, batch_size=8, learning_rate=0.2, ema=0.8, precision="fp32", weight_decay=0, device="cpu")


class StopAt(Monitor):
    def __init__(self, step: int) -> None:
        self.stop, self.heard = step, []  # type: ignore[var-annotated]

    def report(self, **state: Any) -> None:
        self.heard.append(state)

    def check(self) -> None:
        if self.heard and self.heard[-1]["step"] == self.stop:
            raise Cancelled


def weights(networks: Mapping[str, nn.Module]) -> torch.Tensor:
    return torch.cat([p.detach().ravel() for p in networks["line"].parameters()])


def test_it_learns_and_reports() -> None:
    monitor = StopAt(-1)
    networks, history = fit(Line(), CONFIG, monitor=monitor)
    assert abs(weights(networks)[0] - 3) < 0.05
    assert history.metrics[-1][0] == 120 and history.metrics[-1][1]["error"] < 0.1
    assert monitor.heard[59]["step"] == 60 and 0 <= monitor.heard[59]["eta_seconds"] < 60


def test_a_stopped_run_goes_on_as_if_it_had_not_been(tmp_path: Path) -> None:
    whole, _ = fit(Line(), CONFIG)
    with pytest.raises(Cancelled):
        fit(Line(), CONFIG, tmp_path, StopAt(50))
    assert (tmp_path / CHECKPOINT_FILE).is_file()
    resumed, history = fit(Line(), CONFIG, tmp_path)
    assert [step for step, _ in history.losses] == list(range(1, 121))
    torch.testing.assert_close(weights(resumed), weights(whole), rtol=0, atol=0)


def test_the_result_is_the_average_not_the_last_step() -> None:
    task = Line()
    networks, _ = fit(task, FitConfig(steps=5, ema=0.5, precision="fp32", device="cpu", learning_rate=0.1))
    assert not torch.equal(weights(networks), weights(task.networks))


def test_a_loss_that_is_not_finite_stops_the_run() -> None:
    task = Line()
    with torch.no_grad():
        task.networks["line"].weight.fill_(float("inf"))
    with pytest.raises(FloatingPointError, match="learning rate"):
        fit(task, CONFIG)


def test_phases_change_their_own_networks_only() -> None:
    class Two(Line):
        def __init__(self) -> None:
            super().__init__()
            self.networks["still"] = nn.Linear(1, 1)

    task = Two()
    before = weights({"line": task.networks["still"]}).clone()
    fit(task, FitConfig(steps=3, precision="fp32", device="cpu", weight_decay=0.5))
    assert torch.equal(before, weights({"line": task.networks["still"]}))


def test_batches_can_be_made_by_other_processes() -> None:
    here, _ = fit(Line(), FitConfig(steps=6, precision="fp32", device="cpu"))
    there, _ = fit(Line(), FitConfig(steps=6, precision="fp32", device="cpu", workers=1))
    torch.testing.assert_close(weights(here), weights(there), rtol=0, atol=0)


def test_precision_names() -> None:
    cpu = torch.device("cpu")
    assert pick_precision("fp32", cpu) is None
    assert pick_precision("bf16", cpu) is torch.bfloat16
    assert pick_precision("auto", torch.device("cuda")) is torch.float16


class Adversaries(Line):
    """Two networks in turn, each through the other, as a generator and a discriminator are."""

    def __init__(self) -> None:
        super().__init__()
        self.networks["judge"] = nn.Linear(1, 1)

    def phases(self) -> list[Phase]:
        return [Phase("judge", ("judge",), self._judged), Phase("line", ("line",), self._both)]

    def _judged(self, batch: Batch) -> dict[str, torch.Tensor]:
        return {"judge": self.networks["judge"](self.networks["line"](batch["x"]).detach()).square().mean()}

    def _both(self, batch: Batch) -> dict[str, torch.Tensor]:
        made = self.networks["line"](batch["x"])
        return {**self._losses(batch), "fool": 1e-3 * self.networks["judge"](made).square().mean()}


def test_two_processes_train_as_one(tmp_path: Path) -> None:
    """Each sees other batches, gradients are shared, so both end with the same weights."""
    script = tmp_path / "run.py"
    script.write_text(
        "import torch\n"
        "from tests.trainers.test_fit import Adversaries, CONFIG, weights\n"
        "from trainers.fit import fit\n"
        "import os\n"
        "networks, _ = fit(Adversaries(), CONFIG)\n"
        f"torch.save(weights(networks), r'{tmp_path}/' + os.environ['RANK'] + '.pt')\n"
    )
    root = Path(__file__).parents[2]
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--local-addr=127.0.0.1",
        "--nproc_per_node=2",
        str(script),
    ]
    environment = {**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=90, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    one, two = (torch.load(tmp_path / f"{rank}.pt") for rank in (0, 1))
    torch.testing.assert_close(one, two, rtol=0, atol=0)
    assert abs(one[0] - 3) < 0.05
