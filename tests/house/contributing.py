"""What CONTRIBUTING.md names: paths, and what is defined in them."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.house.shape import ROOT

PAGE = ROOT / "CONTRIBUTING.md"
_CODE = re.compile(r"`([^`\n]+)`")
_NAME = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)?")
_PLACEHOLDER = "NAME"
"""Stands for a folder that a reader adds: the others of its kind are looked at."""


@dataclass(frozen=True)
class Cell:
    """What one cell of a table names.

    Attributes:
        paths: as they are written.
        names: functions, classes and what is assigned in them, that should be found there.

    """

    paths: tuple[str, ...]
    names: tuple[str, ...]


def section(page: str, title: str) -> str:
    """The text below a heading, up to the next one."""
    [text] = re.findall(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", page, re.M | re.S)
    return text


def rows(text: str) -> list[list[str]]:
    """Cells of the rows of all tables of a text, without headings."""
    tables = [line for line in text.splitlines() if line.startswith("|")]
    lines = [[each.strip() for each in line.strip().strip("|").split("|")] for line in tables]
    rules = [index for index, cells in enumerate(lines) if set("".join(cells)) <= set("-|")]
    return [cells for index, cells in enumerate(lines) if index not in rules and index + 1 not in rules]


def is_path(code: str) -> bool:
    return " " not in code and (("/" in code and not code.startswith("/")) or code.endswith((".py", ".md", ".toml")))


def cell(text: str) -> Cell:
    """What a cell names; names alone, without a path, may stand for anything."""
    codes = _CODE.findall(text)
    paths = tuple(code for code in codes if is_path(code))
    return Cell(paths, tuple(code for code in codes if paths and code not in paths and _NAME.fullmatch(code)))


def found(path: str) -> list[Path]:
    """What a path of the page leads to, from the project or from the package."""
    pattern = path.rstrip("/").replace(_PLACEHOLDER, "*")
    return [*ROOT.glob(pattern), *(ROOT / "mrt_reward").glob(pattern)]


def lost_paths(page: str) -> list[str]:
    """Paths anywhere on the page that lead nowhere."""
    prose = re.sub(r"^```.*?^```", "", page, flags=re.M | re.S)
    return [code for code in _CODE.findall(prose) if is_path(code) and not found(code)]


def lost_names(page: str) -> list[str]:
    """Names beside a path in a cell of a table that are defined in no file of that cell."""
    return [
        f"{', '.join(each.paths)}: {name}"
        for row in rows(page)
        for each in map(cell, row)
        for name in each.names
        if name not in defined(each.paths)
    ]


def defined(paths: tuple[str, ...]) -> set[str]:
    """Names that the files of these paths define, members as `Class.member`."""
    leads = [each for path in paths for each in found(path)]
    files = {file for lead in leads for file in (lead.rglob("*.py") if lead.is_dir() else [lead])}
    return {name for file in files if file.suffix == ".py" for name in _defined(ast.parse(file.read_text()).body)}


def _defined(body: list[ast.stmt], owner: str = "") -> Iterator[str]:
    for node in body:
        match node:
            case ast.ClassDef(name=name):
                yield owner + name
                yield from _defined(node.body, f"{name}.")
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                yield owner + name
            case ast.AnnAssign(target=ast.Name(id=name)) | ast.Assign(targets=[ast.Name(id=name)]):
                yield owner + name
            case _:
                pass
