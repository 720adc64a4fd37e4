"""The API against its own description: whatever is asked, the answer is one that it says it gives."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import Case
from schemathesis.specs.openapi.checks import positive_data_acceptance

from tests.runtime.viewer_server import Server, run_into, served

BOUNDED = settings(
    max_examples=12, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck), database=None
)
"""Of each route, each time the same ones."""
ROUTES = 18


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    url = f"sqlite:///{tmp_path_factory.mktemp('viewer') / 'store.db'}"
    run_into(url)
    with served(url) as found:
        yield found


def ask_everything(server: Server, change: Callable[[Case], None]) -> int:
    """Ask every route what its description allows, and what it forbids; gives the number of routes."""
    described = schemathesis.openapi.from_url(f"{server.url}/api/openapi.json")
    routes = [found.ok() for found in described.get_all_operations()]
    for route in routes:

        @BOUNDED
        @given(case=route.as_strategy())
        def answered(case: Case) -> None:
            change(case)
            case.call_and_validate(excluded_checks=[positive_data_acceptance])

        answered()
    return len(routes)


def test_any_question_is_answered_as_described(server: Server) -> None:
    assert ask_everything(server, lambda case: None) == ROUTES


def test_questions_about_what_is_there_are_answered_as_described(server: Server) -> None:
    """The same at places that exist, so that more than the way to an error is tried."""
    lesson = server.store.lessons(server.store.run("latest").id)[0]
    there = {"run": "latest", "condition": lesson.key.condition, "replicate": 0, "ordinal": 3}
    place = f"{lesson.key.condition}/0/3"

    def move(case: Case) -> None:
        for name in case.path_parameters or {}:
            case.path_parameters[name] = there[name]
        for name in ("after", "where", "condition"):  # of free text most is refused; the other test has that
            (case.query or {}).pop(name, None)
        for name in ("first", "second"):
            if name in (case.query or {}):
                case.query[name] = place if "episodes" in case.path else lesson.key.condition

    assert ask_everything(server, move) == ROUTES
