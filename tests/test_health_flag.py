"""`sockwave serve --health-path` beside the option, and beside a route of the application."""

import urllib.request
from pathlib import Path

import pytest
from services import needs_workers, serving_application
from test_serve import fails

pytestmark = needs_workers

OPTION = """
import sockwave
server = sockwave.create_server(health_path="/health")
"""

ROUTE = """
import sockwave
server = sockwave.create_server()
server.get("/health", lambda req, res: res.end("mine"))
"""


@pytest.mark.parametrize("path", ["/health", "/up"])
def test_flag_stands_beside_the_option(tmp_path: Path, path: str) -> None:
    words = ("--health-path", path)
    with serving_application(tmp_path, *words, application=OPTION) as service:
        for asked in {path, "/health"}:
            url = f"http://127.0.0.1:{service.port}{asked}"
            with urllib.request.urlopen(url, timeout=30) as answer:
                assert b'"status":"ok"' in answer.read()


@pytest.mark.slow
def test_path_that_the_application_has_is_told_in_a_line(tmp_path: Path) -> None:
    (tmp_path / "main.py").write_text(ROUTE)
    said = fails(tmp_path, "main:server", "--health-path", "/health")
    assert "--health-path: path: expected one that is free, given 'GET /health' again" in said
    assert "Traceback" not in said
