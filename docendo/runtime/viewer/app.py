"""The API as an ASGI application: routes, their parameters, and how errors are answered."""

from __future__ import annotations

from importlib.resources import files
from typing import Annotated, Any

import orjson
from fastapi import FastAPI, Path, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.staticfiles import StaticFiles

from docendo import __version__
from docendo.errors import DocendoError, InfrastructureError, UnknownNameError
from docendo.runtime.viewer import models as m
from docendo.runtime.viewer.alignment import episodes_compared
from docendo.runtime.viewer.calls import calls_page
from docendo.runtime.viewer.episode_models import (
    CallsPage,
    ConditionsCompared,
    EpisodeList,
    EpisodePage,
    EpisodesCompared,
    LessonList,
    LessonPage,
)
from docendo.runtime.viewer.episodes import episode_page
from docendo.runtime.viewer.finding import search_page
from docendo.runtime.viewer.finding_models import FilterPage, GraphsPage, LivePage, ProblemsPage, SearchPage
from docendo.runtime.viewer.graphs import graphs_page
from docendo.runtime.viewer.learning import learning_page
from docendo.runtime.viewer.lessons import MOST, episode_list, filtered_list, lesson_list, lesson_page
from docendo.runtime.viewer.library import Library
from docendo.runtime.viewer.live import Watch, live_page
from docendo.runtime.viewer.problems import problems_page
from docendo.runtime.viewer.runs import fault_of, run_page, store_page, unusable
from docendo.runtime.viewer.security import Guard
from docendo.runtime.viewer.studies import calibration_page, conditions_compared, report_page
from docendo.runtime.viewer.vocabulary import filter_page

__all__ = ["make_app"]

STATIC = files("docendo.runtime.viewer") / "static"

RunId = Annotated[
    str, Path(description="Id of a run, the start of one, its name, or `latest`.", max_length=300)
]
ConditionId = Annotated[str, Path(description="Id of a condition.", max_length=300)]
Replicate = Annotated[int, Path(ge=0, le=2**31 - 1)]
Ordinal = Annotated[int, Path(ge=0, le=2**31 - 1, description="Place in the lesson.")]
After = Annotated[str, Query(description="`next` of the page before.", max_length=300)]
Limit = Annotated[int, Query(ge=1, le=MOST)]
Text = Annotated[str, Query(max_length=300)]
Side = Annotated[str, Query(description="CONDITION/REPLICATE/ORDINAL", max_length=300)]

_FAULTS: dict[int | str, dict[str, Any]] = {
    400: {"model": m.Fault, "description": "Asked wrongly."},
    403: {"model": m.Fault, "description": "Asked by a page or a name that is not the viewer's own."},
    404: {"model": m.Fault, "description": "There is no such thing."},
    422: {"model": m.Fault, "description": "A parameter is not what it should be."},
    503: {"model": m.Fault, "description": "The store cannot be read."},
}


class Json(JSONResponse):
    """An answer as compact JSON. NaN becomes null."""

    def render(self, content: Any) -> bytes:
        """The body."""
        if isinstance(content, BaseModel):
            return content.model_dump_json().encode()
        return orjson.dumps(content)


def make_app(library: Library, *, hosts: tuple[str, ...] = ()) -> FastAPI:
    """The viewer of one store.

    Args:
        library: The store.
        hosts: Names under which browsers may ask, beside those of the loopback interface.
    """
    app = FastAPI(
        title="docendo viewer",
        version=__version__,
        description="Read-only access to a docendo store. The same documents stand in an export.",
        openapi_url="/api/openapi.json",
        docs_url=None,
        redoc_url=None,
        default_response_class=Json,
        responses=_FAULTS,
    )
    app.state.library, app.state.watch = library, Watch()
    _store_routes(app)
    _lesson_routes(app)
    _finding_routes(app)
    app.get("/", include_in_schema=False)(_index)
    app.mount("/static", StaticFiles(packages=[("docendo.runtime.viewer", "static")]))
    app.exception_handler(DocendoError)(_docendo_error)
    app.exception_handler(RequestValidationError)(_invalid)
    app.exception_handler(HTTPException)(_http_error)
    app.exception_handler(Exception)(_bug)
    app.add_middleware(Guard, hosts=hosts)
    return app


def _library(request: Request) -> Library:
    """The store of a request."""
    library: Library = request.app.state.library
    return library


# --- routes ---------------------------------------------------------------------------------------------


def _store_routes(app: FastAPI) -> None:
    @app.get("/api/store", response_model=m.StorePage, summary="What is in the store")
    def store(request: Request) -> Any:
        library = _library(request)
        try:
            return _json(store_page(library))
        except InfrastructureError as error:  # a file that broke, or a server that went away, while we look
            return _json(unusable(library.store.name, error))

    @app.get("/api/runs/{run}", response_model=m.RunPage, summary="A run's design and how far it has come")
    def run_(request: Request, run: RunId) -> Any:
        return _json(run_page(_library(request), run))

    @app.get("/api/runs/{run}/report", response_model=m.ReportPage, summary="Measures with intervals")
    def report(request: Request, run: RunId) -> Any:
        return _json(report_page(_library(request), run))

    @app.get("/api/runs/{run}/calibration", response_model=m.CalibrationPage, summary="Of student models")
    def calibration(request: Request, run: RunId) -> Any:
        return _json(calibration_page(_library(request), run))

    @app.get("/api/runs/{run}/learning", response_model=m.LearningPage, summary="Accuracy test by test")
    def learning(request: Request, run: RunId) -> Any:
        return _json(learning_page(_library(request), run))

    @app.get("/api/runs/{run}/problems", response_model=ProblemsPage, summary="What failed, what is missing")
    def problems(request: Request, run: RunId) -> Any:
        return _json(problems_page(_library(request), run))

    @app.get("/api/runs/{run}/live", response_model=LivePage, summary="How a run is getting on")
    def live(request: Request, run: RunId) -> Any:
        return _json(live_page(_library(request), request.app.state.watch, run))


def _lesson_routes(app: FastAPI) -> None:
    lesson_path = "/api/runs/{run}/lessons/{condition}/{replicate}"

    @app.get("/api/runs/{run}/lessons", response_model=LessonList, summary="Lessons of a run")
    def lessons(
        request: Request, run: RunId, condition: Text = "", after: After = "", limit: Limit = 500
    ) -> Any:
        found = lesson_list(_library(request), run, condition=condition, after=after, limit=limit)
        return _json(found)

    @app.get(lesson_path, response_model=LessonPage, summary="A lesson, phase by phase")
    def lesson(request: Request, run: RunId, condition: ConditionId, replicate: Replicate) -> Any:
        return _json(lesson_page(_library(request), run, condition, replicate))

    @app.get(f"{lesson_path}/episodes", response_model=EpisodeList, summary="Episodes of a lesson")
    def episodes(
        request: Request,
        run: RunId,
        condition: ConditionId,
        replicate: Replicate,
        phase: Text = "",
        after: After = "",
        limit: Limit = 100,
    ) -> Any:
        library = _library(request)
        return _json(episode_list(library, run, condition, replicate, phase=phase, after=after, limit=limit))

    @app.get(f"{lesson_path}/graphs", response_model=GraphsPage, summary="Graphs, and how often nodes acted")
    def graphs(request: Request, run: RunId, condition: ConditionId, replicate: Replicate) -> Any:
        return _json(graphs_page(_library(request), run, condition, replicate))

    @app.get(f"{lesson_path}/episodes/{{ordinal}}", response_model=EpisodePage, summary="An episode")
    def episode(
        request: Request, run: RunId, condition: ConditionId, replicate: Replicate, ordinal: Ordinal
    ) -> Any:
        return _json(episode_page(_library(request), run, condition, replicate, ordinal))

    @app.get(
        f"{lesson_path}/episodes/{{ordinal}}/calls",
        response_model=CallsPage,
        summary="What agents saw and said",
    )
    def calls(
        request: Request, run: RunId, condition: ConditionId, replicate: Replicate, ordinal: Ordinal
    ) -> Any:
        return _json(calls_page(_library(request), run, condition, replicate, ordinal))


def _finding_routes(app: FastAPI) -> None:
    @app.get("/api/runs/{run}/episodes", response_model=EpisodeList, summary="Episodes that pass a filter")
    def filtered(
        request: Request,
        run: RunId,
        where: Annotated[str, Query(description="A filter, see `filters`.", max_length=4000)] = "",
        condition: Text = "",
        phase: Text = "",
        outcome: Text = "",
        after: After = "",
        limit: Limit = 100,
    ) -> Any:
        given = {"condition": condition, "phase": phase, "outcome": outcome, "after": after}
        return _json(filtered_list(_library(request), run, where=where, limit=limit, **given))

    @app.get(
        "/api/runs/{run}/compare/conditions", response_model=ConditionsCompared, summary="Two conditions"
    )
    def conditions(request: Request, run: RunId, first: Text, second: Text) -> Any:
        return _json(conditions_compared(_library(request), run, first, second))

    @app.get("/api/runs/{run}/compare/episodes", response_model=EpisodesCompared, summary="Two episodes")
    def two_episodes(request: Request, run: RunId, first: Side, second: Side) -> Any:
        return _json(episodes_compared(_library(request), run, first, second))

    @app.get("/api/search", response_model=SearchPage, summary="Messages that hold words")
    def search(
        request: Request,
        q: Annotated[str, Query(description='`word`, `"a phrase"`, `begin*`, `-without`', max_length=1000)],
        run: Text = "",
        after: After = "",
        limit: Limit = 50,
    ) -> Any:
        return _json(search_page(_library(request), q, run=run, after=after, limit=limit))

    @app.get("/api/filters", response_model=FilterPage, summary="The language of filters")
    def filters() -> Any:
        return _json(filter_page())


def _index() -> Response:
    return Response((STATIC / "index.html").read_bytes(), media_type="text/html; charset=utf-8")


def _json(content: Any, status: int = 200) -> Json:
    return Json(content, status_code=status, headers={"Cache-Control": "no-store"})


# --- errors ---------------------------------------------------------------------------------------------


async def _docendo_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, DocendoError)
    status = 404 if isinstance(error, UnknownNameError) else 400
    if isinstance(error, InfrastructureError):
        status = 503
    return _json(m.Fault(error=fault_of(error)), status)


async def _invalid(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    name = str(first["loc"][-1]) if first.get("loc") else "the request"
    return _json(_fault("usage", f"`{name}`: {first['msg']}", "See /api/openapi.json."), 422)


async def _http_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    message = "there is nothing at this address" if error.status_code == 404 else str(error.detail)
    return _json(_fault("unknown_name" if error.status_code == 404 else "usage", message), error.status_code)


async def _bug(_: Request, error: Exception) -> Response:
    said = f"docendo failed: {type(error).__name__}: {error}"
    return _json(_fault("bug", said, "This is a bug; the store is not harmed. Please report it."), 500)


def _fault(code: str, message: str, suggestion: str = "") -> m.Fault:
    return m.Fault(error=m.FaultBody(code=code, message=message, suggestion=suggestion))
