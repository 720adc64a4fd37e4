"""A run as one page that opens from its file: the front end with the documents of the API inside.

The documents are those that the server gives, under the same paths, so the pages cannot tell the difference.
They stand in chunks of about a hundred episodes, each compressed, so that a page unpacks only what it shows.
Prompt messages stand once in the whole file, under their addresses, in the chunk that used them first; a
page of calls says in `chunks` where its messages are. Equal stores make equal files.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import permutations
from pathlib import Path

import orjson
from pydantic import BaseModel

from docendo.errors import UsageError
from docendo.runtime.export.export import replacing
from docendo.runtime.store import Store
from docendo.runtime.store.records import EpisodeRecord, LessonKey
from docendo.runtime.viewer.bundle import STATIC, script, styles
from docendo.runtime.viewer.calls import calls_page
from docendo.runtime.viewer.episode_models import CallsPage, EpisodeList, LessonList
from docendo.runtime.viewer.episodes import episode_page
from docendo.runtime.viewer.graphs import graphs_page
from docendo.runtime.viewer.learning import learning_page
from docendo.runtime.viewer.lessons import all_rows, lesson_page, lesson_rows
from docendo.runtime.viewer.library import Design, Library
from docendo.runtime.viewer.problems import problems_page
from docendo.runtime.viewer.runs import run_page, store_page
from docendo.runtime.viewer.studies import calibration_page, conditions_compared, report_page
from docendo.runtime.viewer.vocabulary import filter_page

__all__ = ["FORMAT", "Written", "export_run", "page_of"]

FORMAT = 1
"""Version of the data inside an export."""
CHUNK = 100
"""Episodes per chunk."""
ALL_PAIRS = 6
"""Most conditions of which every pair is compared; of more, each is compared with its baseline."""


@dataclass(frozen=True, kw_only=True)
class Written:
    """What was written."""

    run: str
    episodes: int
    size: int
    """Bytes."""


@dataclass
class _Chunks:
    """Documents on their way into an export."""

    documents: dict[str, int] = field(default_factory=dict)
    """Path -> chunk."""
    texts: dict[str, int] = field(default_factory=dict)
    """Address of a prompt message -> chunk."""
    packed: list[str] = field(default_factory=list)
    _open: dict[str, bytes] = field(default_factory=dict)
    _texts: dict[str, bytes] = field(default_factory=dict)

    @property
    def number(self) -> int:
        """Of the chunk that is being filled."""
        return len(self.packed)

    def add(self, path: str, document: BaseModel) -> None:
        """Put a document into the open chunk."""
        self._put(path, document.model_dump_json().encode())

    def add_calls(self, path: str, page: CallsPage) -> None:
        """Put a page of calls there, with those of its messages that no chunk has yet."""
        for address, body in page.texts.items():
            if address not in self.texts:
                self.texts[address] = self.number
                self._texts[address] = body.model_dump_json().encode()
        homes = sorted({self.texts[address] for address in page.texts})
        document = page.model_copy(update={"texts": {}}).model_dump(mode="json")
        self._put(path, orjson.dumps(document | {"chunks": homes}))

    def close(self) -> None:
        """Pack the open chunk, if there is anything in it, and begin another."""
        if not self._open:
            return
        body = b'{"documents":%s,"texts":%s}' % (_object(self._open), _object(self._texts))
        self.packed.append(base64.b64encode(gzip.compress(body, 9, mtime=0)).decode())
        self._open, self._texts = {}, {}

    def _put(self, path: str, body: bytes) -> None:
        self.documents[path] = self.number
        self._open[path] = body


def export_run(store: Store, run: str, out: Path, *, force: bool = False) -> Written:
    """Write a run as one page, completely or not at all.

    Args:
        store: Where the run is.
        run: Id, beginning of an id, name, or `latest`.
        out: The file.
        force: Replace what is there.

    Raises:
        UnknownNameError: There is no such run.
        UsageError: The run has no episodes, `out` exists, or its folder does not.
        StoreError: The store cannot be read, or the disk not written.
    """
    library = Library(store)
    design = library.design(store.run(run).id)
    chunks = _Chunks()
    with replacing(out, folder=False, force=force) as target:
        episodes = _collect(library, design, chunks)
        if not episodes:
            raise UsageError(
                f"run `{design.record.id}` has no episode yet", suggestion="Export it when it has begun."
            )
        data = {"format": FORMAT, "documents": chunks.documents, "chunks": chunks.packed}
        page = page_of(orjson.dumps(data).decode())
        target.write_text(page, encoding="utf-8", newline="\n")
    return Written(run=design.record.id, episodes=episodes, size=len(page.encode()))


def _collect(library: Library, design: Design, chunks: _Chunks) -> int:
    """All documents of a run; how many episodes it has."""
    run = design.record.id
    _study(library, design, chunks)
    chunks.close()
    episodes = waiting = 0
    for lesson in library.lessons(run):
        key = lesson.key
        path = f"runs/{run}/lessons/{key.condition}/{key.replicate}"
        rows = list(all_rows(library, design, key))
        chunks.add(path, lesson_page(library, run, key.condition, key.replicate))
        listed = EpisodeList(episodes=rows, next=None, scanned=len(rows), total=len(rows))
        chunks.add(f"{path}/episodes", listed)
        chunks.add(f"{path}/graphs", graphs_page(library, run, key.condition, key.replicate))
        for record in _episodes(library, key):
            place = (run, key.condition, key.replicate, record.ordinal)
            chunks.add(f"{path}/episodes/{record.ordinal}", episode_page(library, *place))
            chunks.add_calls(f"{path}/episodes/{record.ordinal}/calls", calls_page(library, *place))
            episodes, waiting = episodes + 1, waiting + 1
            if waiting == CHUNK:
                chunks.close()
                waiting = 0
    chunks.close()
    return episodes


def _study(library: Library, design: Design, chunks: _Chunks) -> None:
    """What pages about the whole run need."""
    run = design.record.id
    store = store_page(library)
    own = [row for row in store.runs if row.id == run]
    chunks.add("store", store.model_copy(update={"runs": own, "exported": True}))
    chunks.add(f"runs/{run}", run_page(library, run))
    chunks.add(f"runs/{run}/report", report_page(library, run))
    chunks.add(f"runs/{run}/calibration", calibration_page(library, run))
    chunks.add(f"runs/{run}/learning", learning_page(library, run))
    chunks.add(f"runs/{run}/problems", problems_page(library, run))
    chunks.add(f"runs/{run}/lessons", LessonList(lessons=lesson_rows(library, design), next=None))
    chunks.add("filters", filter_page())
    for first, second in _pairs(design):
        path = f"runs/{run}/compare/conditions?first={first}&second={second}"
        chunks.add(path, conditions_compared(library, run, first, second))


def _pairs(design: Design) -> list[tuple[str, str]]:
    ids = [condition.id for condition in design.conditions]
    if len(ids) <= ALL_PAIRS:
        return list(permutations(ids, 2))
    return [(id_, design.baselines[id_]) for id_ in ids if id_ in design.baselines]


def _episodes(library: Library, key: LessonKey) -> Iterator[EpisodeRecord]:
    return library.store.episodes(key.run, key.condition, key.replicate)


def _object(members: dict[str, bytes]) -> bytes:
    """A JSON object of members that are JSON already."""
    return b"{" + b",".join(orjson.dumps(name) + b":" + body for name, body in members.items()) + b"}"


def page_of(data: str) -> str:
    """The page with `data` (JSON) inside. Its policy lets this script and these styles run, and nothing else.

    In a script element only `</script` and `<!--` end or change the reading of what follows, so `<` is
    written as JSON's escape for it.
    """
    code = script().replace("</script", "<\\/script").replace("<!--", "<\\!--")
    style = styles().replace("</style", "<\\/style")
    policy = (
        f"default-src 'none'; script-src {_hash(code)}; style-src {_hash(style)}; img-src data: blob:; "
        "base-uri 'none'; form-action 'none'"
    )
    page = (STATIC / "index.html").read_text(encoding="utf-8")
    page = re.sub(r'<link rel="stylesheet"[^>]*>\n', "", page)
    page = re.sub(r'<script type="module"[^>]*></script>\n', "", page)
    head = f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n<style>{style}</style>\n'
    safe = data.replace("<", "\\u003c")
    body = f'<script type="application/json" id="docendo-export">{safe}</script>\n<script>{code}</script>\n'
    page = page.replace("</head>", head + "</head>", 1)
    before, end, after = page.rpartition("</body>")
    return before + body + end + after


def _hash(source: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()}'"
