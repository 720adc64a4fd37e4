"""Runs the documentation: checks every code block, or writes anew what commands print.

    python docs/regenerate.py            # rewrite what the commands in the pages print
    python docs/regenerate.py --check    # say what is not current, change nothing
    python docs/regenerate.py --slow     # the same, blocks marked `slow` included (minutes)

The word after the three backticks says what a block is, further words say how it is treated:

- `console`: commands after `$ `, run in the page's folder in page order, with what they print. In the
  output a line `...` stands for any lines and `...` inside a line for any text. `head=N` and `tail=N` keep
  the first and the last N lines when the block is written anew, `slow` leaves it to `--slow`.
- `yaml`: a whole scenario, which must be sound; `gallery=NAME` says that it is that file, without the models
  in comments at its end, `graph=NAME` that library graph. `yaml fragment` is put on top of a scenario with
  `extends` (`base=NAME`: which). `yaml wrong` must be refused. `yaml away`: the weights of its models need
  not be here.
- `python`: runs. `sh`: does not; its docendo commands, options and make targets must exist.
- `mermaid graph=NAME`: the drawing of a library graph. `tree`: paths that must exist.
- `file=NAME` with any language writes the block into the page's folder first.

A page works in a folder that holds what the tutorial made, unless it is the tutorial. The pages of results,
`docs/gallery`, take hours in all: of their blocks only scenarios and the spelling of commands are checked.
"""

from __future__ import annotations

import argparse
import io
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from contextlib import chdir, nullcontext, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args, get_origin
from unittest.mock import Mock, patch

import typer

from docendo.errors import DocendoError
from docendo.graphs.library import load_library
from docendo.graphs.mermaid import to_mermaid
from docendo.runtime.backends.base import Backend, Capabilities
from docendo.runtime.backends.factory import build_backend
from docendo.runtime.cli.app import app, main
from docendo.runtime.identity import identify
from docendo.runtime.study import prepare
from docendo.scenarios.bundled import gallery_path
from docendo.scenarios.loader import load_scenario

ROOT = Path(__file__).resolve().parent.parent
TUTORIAL = ROOT / "docs" / "tutorial.md"
_FENCE = re.compile(r"^(\s*)```(.*)$")
_TIME = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d)?(\+00:00| UTC)?")


MODELS = "\n# On language models:"
"""Where the comments begin with which a gallery file ends."""


def pages() -> list[Path]:
    """Every page, the tutorial first; those of the gallery are pages of results and have no folder."""
    rest = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    return [TUTORIAL, *(page for page in rest if page != TUTORIAL)]


def _weightless(name: str, spec: Any, **rest: Any) -> Backend:
    """A backend that has no need of weights in place of one that loads them."""
    if spec.backend in {"transformers", "vllm"}:
        able = Capabilities(scoring=True, seed=True, logprobs=True, schema=True, deterministic=True)
        return Mock(spec=Backend, capabilities=able)
    return build_backend(name, spec, **rest)


@dataclass
class Block:
    """One fenced block."""

    page: Path
    line: int
    """One-based line of its first content line."""
    language: str
    words: tuple[str, ...]
    options: dict[str, str]
    lines: list[str]
    indent: str = ""

    @property
    def text(self) -> str:
        """The content."""
        return "".join(f"{line}\n" for line in self.lines)

    @property
    def place(self) -> str:
        """File and line, for messages."""
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks_of(page: Path) -> list[Block]:
    """The fenced blocks of a page, in order."""
    found: list[Block] = []
    open_: Block | None = None
    for number, line in enumerate(page.read_text(encoding="utf-8").split("\n"), start=1):
        fence = _FENCE.match(line)
        if fence and open_ is None:
            language, *words = fence[2].split() or [""]
            options = dict(word.split("=", 1) for word in words if "=" in word)
            plain = tuple(word for word in words if "=" not in word)
            open_ = Block(page, number + 1, language, plain, options, [], fence[1])
        elif fence and open_ is not None:
            found.append(open_)
            open_ = None
        elif open_ is not None:
            open_.lines.append(line.removeprefix(open_.indent))
    return found


@dataclass
class Workshop:
    """A folder in which the blocks of one page are done, and what was wrong with them."""

    folder: Path
    slow: bool = False
    problems: list[str] = field(default_factory=list)
    written: dict[int, list[str]] = field(default_factory=dict)
    """Line of a block -> its content as it should be."""
    _code: int = 0
    _names: dict[str, Any] = field(default_factory=dict)
    _count: int = 0

    def do(self, block: Block) -> None:
        """Check or run one block."""
        if "file" in block.options:
            target = self.folder / block.options["file"]
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(block.text, encoding="utf-8")
        doer = getattr(self, f"_{block.language}", None)
        if block.page.parent.name == "gallery" and block.language != "yaml":
            block.lines = [line.removeprefix("$ ") for line in block.lines if line.startswith("$ ")]
            self._sh(block)
        elif doer is None:
            self._wrong(block, f"nobody checks a block of `{block.language or 'no language'}`")
        else:
            doer(block)

    def _wrong(self, block: Block, message: str) -> None:
        self.problems.append(f"{block.place}: {message}")

    # --- commands -----------------------------------------------------------------------------------------

    def _console(self, block: Block) -> None:
        if "slow" in block.words and not self.slow:
            self._current(block)
            return
        wanted: list[str] = []
        now: list[str] = []
        for command, shown in _commands(block.lines):
            printed = self._run(block, command)
            cut = _cut(printed, int(block.options.get("head", 0)), int(block.options.get("tail", 0)))
            same = matches(shown, printed) and (cut == printed or matches(cut, shown))
            wanted += [f"$ {command}", *shown]
            now += [f"$ {command}", *(shown if same else cut)]
        if now != wanted:
            self.written[block.line] = now
            self._wrong(block, "the commands print something else now; run `python docs/regenerate.py`")

    def _current(self, block: Block) -> None:
        """A block that is not run must at least show the run that its command would make."""
        for command, shown in _commands(block.lines):
            words = shlex.split(command)
            if words[:2] == ["docendo", "run"]:
                with chdir(self.folder):
                    run = identify(load_scenario(words[2])).run_id
                if not any(run in line for line in shown):
                    self._wrong(block, f"`{command}` makes run {run} now; run it again with --slow")

    def _run(self, block: Block, command: str) -> list[str]:
        words = shlex.split(command, comments=True)
        if command == "echo $?":
            code, self._code = self._code, 0
            return [str(code)]
        if self._code:
            self._wrong(block, f"exit code {self._code} before `{command}`; show it with `echo $?`")
            self._code = 0
        if words[0] == "cat":
            return (self.folder / words[1]).read_text(encoding="utf-8").rstrip("\n").split("\n")
        if words[0] != "docendo":
            self._wrong(block, f"`{words[0]}` is no command that is run here")
            return []
        self._code, text = self._call(words[1:])
        if self._code and f"$ {command}" == f"$ {_commands_of(block)[-1]}":
            self._wrong(block, f"exit code {self._code} of `{command}`; show it with `echo $?`")
            self._code = 0
        return [line.rstrip() for line in text.rstrip("\n").split("\n")] if text.strip() else []

    def _call(self, arguments: list[str]) -> tuple[int, str]:
        """One docendo command: here, or in a process of its own where the folder holds a plug-in."""
        if plugin_in(self.folder):
            return self._call_outside(arguments)
        stream = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True)
        code = 0
        one = patch("os.cpu_count", return_value=1)  # starting workers costs more than these runs
        with one, chdir(self.folder), redirect_stdout(stream), redirect_stderr(stream):
            try:
                main(arguments)
            except SystemExit as leaving:
                code = int(leaving.code or 0)
        stream.seek(0)
        return code, stream.read().replace(str(self.folder), "/home/me/lab")

    def _call_outside(self, arguments: list[str]) -> tuple[int, str]:
        path = os.pathsep.join([str(self.folder), str(ROOT)])
        code = "import sys; from docendo.runtime.cli import main; main(sys.argv[1:])"
        done = subprocess.run(
            [sys.executable, "-c", code, *arguments],
            cwd=self.folder,
            env={**os.environ, "PYTHONPATH": path},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            check=False,
        )
        return done.returncode, done.stdout

    # --- other languages ----------------------------------------------------------------------------------

    def _yaml(self, block: Block) -> None:
        if name := block.options.get("gallery"):
            text = gallery_path(name).read_text(encoding="utf-8")
            self._same(block, text.partition(MODELS)[0])
        elif name := block.options.get("graph"):
            self._same(block, (ROOT / "docendo/graphs/library" / f"{name}.yaml").read_text(encoding="utf-8"))
        else:
            self._sound(block)

    def _same(self, block: Block, text: str) -> None:
        if block.text != text:
            self.written[block.line] = text.rstrip("\n").split("\n")
            self._wrong(block, "this is not the file that it stands for; run `python docs/regenerate.py`")

    def _sound(self, block: Block) -> None:
        text, away = block.text, "away" in block.words
        if "fragment" in block.words:
            text = f"extends: {block.options.get('base', 'when-to-step-in')}\n{text}"
        if "file" not in block.options:
            self._count += 1
        file = self.folder / block.options.get("file", f".block-{self._count}.yaml")
        file.write_text(text, encoding="utf-8")
        if plugin_in(self.folder):
            return  # the names in it exist only for the commands of the page
        try:
            with patch("docendo.runtime.study.build_backend", _weightless) if away else nullcontext():
                prepare(load_scenario(file))
        except DocendoError as error:
            problems = [str(p) for p in getattr(error, "problems", [f"{error.where} {error.message}"])]
            if "wrong" not in block.words:
                self._wrong(block, "; ".join(problems))
        else:
            if "wrong" in block.words:
                self._wrong(block, "this scenario is sound")

    def _python(self, block: Block) -> None:
        if "file" in block.options:
            compile(block.text, block.place, "exec")
            return
        try:
            with chdir(self.folder):
                exec(compile(block.text, block.place, "exec"), self._names)
        except Exception as error:
            self._wrong(block, f"{type(error).__name__}: {error}")

    def _sh(self, block: Block) -> None:
        commands = typer.main.get_command(app)
        for line in block.lines:
            words = shlex.split(line, comments=True)
            if words[:1] == ["make"]:
                targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
                if words[1] not in targets:
                    self._wrong(block, f"no make target `{words[1]}`")
            if words[:1] == ["docendo"]:
                self._known(block, commands, words)

    def _known(self, block: Block, commands: Any, words: list[str]) -> None:
        command = commands.commands.get(words[1])
        if command is None:
            self._wrong(block, f"no command `docendo {words[1]}`")
            return
        known = {option for param in command.params for option in (*param.opts, *param.secondary_opts)}
        for word in words[2:]:
            if word.startswith("-") and word.split("=")[0] not in {*known, "--help"}:
                self._wrong(block, f"`docendo {words[1]}` has no option `{word}`")

    def _mermaid(self, block: Block) -> None:
        if name := block.options.get("graph"):
            self._same(block, to_mermaid(load_library(name)).rstrip("\n") + "\n")
        elif block.lines[0].split()[0] not in {"flowchart", "sequenceDiagram"}:
            self._wrong(block, "not a diagram")

    def _tree(self, block: Block) -> None:
        for path in tree_paths(block.lines):
            if not (ROOT / path).exists():
                self._wrong(block, f"there is no {path}")

    def _text(self, block: Block) -> None:
        if "file" not in block.options and "formula" not in block.words:
            self._wrong(block, "plain text is checked by nobody; show what a command prints")

    _jsonl = _toml = _markdown = _text


def plugin_in(folder: Path) -> bool:
    """Whether the folder holds a plug-in; if so, it is made visible as an installed distribution."""
    if not (folder / "pyproject.toml").exists():
        return False
    project = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    entries = project["entry-points"]["docendo"]
    info = folder / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    info.mkdir(exist_ok=True)
    (info / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n", encoding="utf-8"
    )
    lines = [f"{name} = {target}" for name, target in entries.items()]
    (info / "entry_points.txt").write_text("\n".join(["[docendo]", *lines, ""]), encoding="utf-8")
    return True


def tree_paths(lines: list[str]) -> Iterator[str]:
    """The paths of a drawn tree: names of a line up to two spaces, indented by two per level."""
    stack: list[str] = []
    for line in lines:
        names = re.split(r"\s{2,}", line.strip())[0]
        depth = (len(line) - len(line.lstrip())) // 2
        stack = stack[:depth]
        for name in names.split():
            yield "/".join([*(part.rstrip("/") for part in stack), name])
        stack.append(names.split()[0])


def _commands(lines: list[str]) -> Iterator[tuple[str, list[str]]]:
    """(command, lines that it is shown to print) in order."""
    command: str | None = None
    shown: list[str] = []
    for line in lines:
        if line.startswith("$ "):
            if command is not None:
                yield command, shown
            command, shown = line[2:], []
        else:
            shown.append(line)
    if command is not None:
        yield command, shown


def _cut(printed: list[str], head: int, tail: int) -> list[str]:
    """The first and last lines of an output; all of it where neither is asked for, or little is left out."""
    if not head + tail or len(printed) <= head + tail + 1:
        return printed
    return [*printed[:head], "...", *printed[len(printed) - tail :]]


def _commands_of(block: Block) -> list[str]:
    return [command for command, _ in _commands(block.lines)]


def matches(shown: list[str], printed: list[str]) -> bool:
    """Whether what is shown, elisions allowed, is what was printed; times are taken for equal."""
    pattern = ""
    for line in shown:
        if line.strip() == "...":
            pattern += r"(?:.*\n)*?"
        else:
            plain = _TIME.sub("\0", line.rstrip())
            pattern += re.escape(plain).replace(re.escape("..."), ".*?") + r"\n"
    text = "".join(f"{_TIME.sub(chr(0), line)}\n" for line in printed)
    return re.fullmatch(pattern, text) is not None


def with_options(text: str) -> str:
    """A page's text with the table after each `<!-- options: COMMAND -->` as the command line has it."""
    lines: list[str] = []
    skipping = False
    for line in text.split("\n"):
        skipping = skipping and line.startswith("|")
        if not skipping:
            lines.append(line)
        if marker := re.fullmatch(r"<!-- options: (\w+) -->", line):
            lines += _options_of(marker[1])
            skipping = True
    return "\n".join(lines)


def _options_of(command: str) -> Iterator[str]:
    yield "| argument or option | default | meaning |"
    yield "|---|---|---|"
    for param in typer.main.get_command(app).commands[command].params:  # type: ignore[attr-defined]
        named = param.opts[0].startswith("-")
        names = [*param.opts, *param.secondary_opts] if named else [param.opts[0].upper()]
        choices = "|".join(map(str, get_args(param.type_descriptor.annotation)))
        if choices and get_origin(param.type_descriptor.annotation) is Literal:
            names[-1] += f" {choices}"
        default = "required" if param.required else _default(param.default)
        row = " | ".join([f"`{'`, `'.join(names)}`".replace("|", r"\|"), default, param.help or ""])
        yield f"| {row} |"


def _default(value: Any) -> str:
    return "" if value is None or value is False or value == "" else "on" if value is True else f"`{value}`"


def work(page: Path, folder: Path, *, slow: bool = False) -> Workshop:
    """Do all blocks of a page in `folder`."""
    shop = Workshop(folder, slow=slow)
    for block in blocks_of(page):
        shop.do(block)
    return shop


def rewrite(page: Path, written: dict[int, list[str]]) -> None:
    """Put new contents into a page's blocks."""
    lines = page.read_text(encoding="utf-8").split("\n")
    for block in reversed(blocks_of(page)):
        if block.line in written:
            start = block.line - 1
            fresh = [f"{block.indent}{line}".rstrip() for line in written[block.line]]
            lines[start : start + len(block.lines)] = fresh
    page.write_text("\n".join(lines), encoding="utf-8")


def settle_environment() -> None:
    """What would make two machines print differently."""
    os.environ.update(COLUMNS="100", DOCENDO_STORE="sqlite:///docendo.db", NO_COLOR="1", TERM="dumb")
    os.environ.pop("FORCE_COLOR", None)


def regenerate(only: list[str], *, check: bool, slow: bool) -> list[str]:
    """Do every page, and rewrite those whose blocks are not current unless `check`."""
    settle_environment()
    problems: list[str] = []
    with tempfile.TemporaryDirectory() as scratch:
        first = Path(scratch) / "tutorial"
        for number, page in enumerate(pages()):
            if only and page != TUTORIAL and page.name not in only:
                continue
            folder = first if page == TUTORIAL else Path(scratch) / f"page-{number}"
            if page == TUTORIAL:
                folder.mkdir()
            else:
                shutil.copytree(first, folder)
            text = page.read_text(encoding="utf-8")
            if text != (now := with_options(text)):
                problems.append(f"{page.relative_to(ROOT)}: a table of options is not current")
                if not check:
                    page.write_text(now, encoding="utf-8")
            shop = work(page, folder, slow=slow)
            problems += shop.problems
            if shop.written and not check:
                rewrite(page, shop.written)
    return problems


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Run the documentation.")
    parser.add_argument("pages", nargs="*", help="Only these pages, by file name (the tutorial always runs).")
    parser.add_argument("--check", action="store_true", help="Change nothing.")
    parser.add_argument("--slow", action="store_true", help="Run blocks marked slow too.")
    given = parser.parse_args()
    found = regenerate(given.pages, check=given.check, slow=given.slow)
    sys.stdout.write("".join(f"{line}\n" for line in found))
    sys.exit(1 if found else 0)
