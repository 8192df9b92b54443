"""What the server's description (OpenAPI) says of answers that are not only JSON, or of one kind only."""

from __future__ import annotations

from pathlib import Path

import pytest

from monailabel_app.config import ServerConfig
from monailabel_app.server import create_app

PATHS = create_app(ServerConfig(Path("studies"), Path("data"))).openapi()["paths"]


@pytest.mark.parametrize("path", ["/logs/", "/metrics", "/train/events"])
def test_errors_are_json_where_answers_are_text(path: str) -> None:
    answers = PATHS[path]["get"]["responses"]
    assert set(answers["default"]["content"]) == {"application/json"}
    assert "application/json" not in answers["200"]["content"]


def test_an_answer_that_may_be_json_is_not_told_to_be_a_file_then() -> None:
    content = PATHS["/infer/{model}"]["post"]["responses"]["200"]["content"]
    assert content["application/json"] == {}
    assert content["application/octet-stream"]["schema"]["format"] == "binary"
