"""What was measured so far, as one Markdown table and as JSON: both files are whole after every figure.

A part that fails takes nothing away: it is a row that says why.
"""

from __future__ import annotations

import datetime
import json
import platform
import time
from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
import transformers


@dataclass(frozen=True)
class Figure:
    """One number.

    Attributes:
        model: that it is of, or what else.
        name: what it is.
        value: in `unit`.
        note: how to read it.
        holds: whether it is where it has to be; None where nothing is asked of it.

    """

    model: str
    name: str
    value: float
    unit: str = ""
    note: str = ""
    holds: bool | None = None


@dataclass(frozen=True)
class Failure:
    """A part that was not measured."""

    model: str
    part: str
    why: str


def machine(device: torch.device) -> dict[str, str]:
    """Date, card and releases."""
    card = "none, on a CPU"
    if device.type == "cuda":
        memory_gb = torch.cuda.get_device_properties(device).total_memory / 1e9
        card = f"{torch.cuda.get_device_name(device)}, {memory_gb:.0f} GB"
    return {
        "date": datetime.datetime.now(tz=datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        "card": card,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    }


@dataclass
class Report:
    """Figures and failures, in the order in which they came.

    Attributes:
        folder: of `gpu.md` and `gpu.json`.
        about: the machine, and what was chosen.
        until: when no other part may begin, by `time.monotonic`.

    """

    folder: Path
    about: dict[str, str]
    until: float
    figures: list[Figure] = field(default_factory=list[Figure])
    failures: list[Failure] = field(default_factory=list[Failure])

    @property
    def is_good(self) -> bool:
        """Whether all was measured, and all is where it has to be."""
        return not self.failures and all(figure.holds is not False for figure in self.figures)

    async def take(self, model: str, part: str, figures: AsyncIterator[Figure]) -> None:
        """Measure a part; the figures that it found before it failed are kept. Nothing begins once time is up."""
        began = time.monotonic()
        if began >= self.until:
            self.failures.append(Failure(model, part, "not measured: time is up"))
            self.write()
            return
        print(f"{model}: {part} …", flush=True)
        try:
            async for figure in figures:
                self.figures.append(figure)
                self.write()
        except Exception as error:  # noqa: BLE001 - written down, and the exit status tells of it
            self.failures.append(Failure(model, part, f"{type(error).__name__}: {error}"))
        self.figures.append(Figure(model, f"{part}: took", time.monotonic() - began, "s"))
        self.write()

    def write(self) -> None:
        """Both files, each whole at any time."""
        reported = {
            **self.about,
            "figures": [asdict(figure) for figure in self.figures],
            "failures": [asdict(failure) for failure in self.failures],
        }
        self._replace("gpu.json", json.dumps(reported, indent=1, ensure_ascii=False) + "\n")
        self._replace("gpu.md", self.markdown())

    def markdown(self) -> str:
        head = ", ".join(f"{name} {value}" for name, value in self.about.items())
        rows = [f"| {each.model} | {each.name} | {_shown(each)} | {_remark(each)} |" for each in self.figures]
        rows += [f"| {each.model} | {each.part} | failed | {_plain(each.why)} |" for each in self.failures]
        return "\n".join([head, "", "| model | what | measured | note |", "|---|---|---|---|", *rows, ""])

    def _replace(self, name: str, text: str) -> None:
        beside = self.folder / f".{name}"
        beside.write_text(text, encoding="utf-8")
        beside.replace(self.folder / name)


def _shown(figure: Figure) -> str:
    value = figure.value
    number = f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
    return f"{number} {figure.unit}".strip()


def _remark(figure: Figure) -> str:
    held = {True: "holds", False: "DOES NOT HOLD", None: ""}[figure.holds]
    return "; ".join(part for part in (held, _plain(figure.note)) if part)


def _plain(text: str) -> str:
    """In one line of a table."""
    return " ".join(text.replace("|", "/").split())[:300]
