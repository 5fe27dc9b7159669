"""What the shape of the code is measured by: `python -m tests.house.shape` prints all of it."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

ROOT = Path(__file__).parents[2]
SOURCES = ("mrt_reward", "adapters")
_BROAD = frozenset({"Exception", "BaseException"})

Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Module:
    """One source file."""

    path: Path

    @cached_property
    def text(self) -> str:
        return self.path.read_text(encoding="utf-8")

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.text)

    @property
    def name(self) -> str:
        """Relative to the project, such as `mrt_reward/core/credit.py`."""
        return self.path.relative_to(ROOT).as_posix()

    @property
    def num_lines(self) -> int:
        return self.text.count("\n")

    @property
    def functions(self) -> Iterator[Function]:
        return (node for node in ast.walk(self.tree) if isinstance(node, Function))


module_at = cache(Module)
"""Read and parsed once, whoever asks."""


def modules(*folders: str) -> list[Module]:
    found = (path for folder in folders or SOURCES for path in (ROOT / folder).rglob("*.py"))
    return [module_at(path) for path in sorted(found)]


def num_body_lines(function: Function) -> int:
    """Lines of a function without its decorators and docstring."""
    lines = (function.end_lineno or function.lineno) - function.lineno + 1
    first = function.body[0]
    if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str):
        lines -= (first.end_lineno or first.lineno) - first.lineno + 1
    return lines


def num_parameters(function: Function) -> int:
    """Parameters that a caller may give, without `self` and `cls`."""
    given = [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]
    names = [each.arg for each in given if each.arg not in ("self", "cls")]
    return len(names) + (function.args.vararg is not None)


def wide_functions(most: int = 5) -> list[str]:
    """Functions of more parameters, outside the command line, whose flags are its parameters."""
    return [
        f"{module.name}:{function.lineno} {function.name} ({num_parameters(function)})"
        for module in modules()
        if not module.name.startswith("mrt_reward/cli/")
        for function in module.functions
        if num_parameters(function) > most
    ]


def typed_dicts() -> list[str]:
    """Typed dicts, and functions whose parameters hide in one: `**options: Unpack[…]`."""
    return [
        f"{module.name}:{node.lineno} {node.name}"
        for module in modules()
        for node in ast.walk(module.tree)
        if (isinstance(node, ast.ClassDef) and "TypedDict" in map(ast.unparse, node.bases))
        or (isinstance(node, Function) and "Unpack[" in ast.unparse(node.args))
    ]


def broad_excepts() -> list[str]:
    """Handlers of any exception; those that do nothing but clean up and raise it again are none."""
    return [
        f"{module.name}:{node.lineno}"
        for module in modules()
        for node in ast.walk(module.tree)
        if isinstance(node, ast.ExceptHandler)
        and (node.type is None or any(name in _BROAD for name in re.findall(r"\w+", ast.unparse(node.type))))
    ]


def long_files(most: int = 300) -> list[str]:
    return [f"{module.name} ({module.num_lines})" for module in modules() if module.num_lines > most]


def function_lengths() -> list[int]:
    return sorted(num_body_lines(function) for module in modules() for function in module.functions)


def p90(lengths: list[int]) -> int:
    return lengths[int(0.9 * (len(lengths) - 1))]


def imports(module: Module) -> set[str]:
    """Our modules that a module imports while it is loaded, by their dotted names."""
    found: set[str] = set()
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
    return {name for name in found if name.startswith("mrt_reward")}


def package_of(dotted: str, packages: frozenset[str]) -> str:
    """The innermost package that a module belongs to."""
    while dotted not in packages:
        dotted = dotted.rpartition(".")[0]
    return dotted


def package_cycles() -> list[tuple[str, str]]:
    """Pairs of packages each of which imports the other.

    The root package stands below and above all others: `types` and `errors` are in it, and `wiring` and `api`. An
    `__init__` that offers what lies in its packages depends on none of them.
    """
    found = {module: module.name.removesuffix(".py").replace("/", ".") for module in modules("mrt_reward")}
    packages = frozenset(name.removesuffix(".__init__") for name in found.values() if name.endswith(".__init__"))
    known = {name.removesuffix(".__init__") for name in found.values()}
    arrows: set[tuple[str, str]] = set()
    for module, dotted in found.items():
        here = package_of(dotted, packages)
        if dotted.endswith(".__init__") or here == "mrt_reward":
            continue
        for name in imports(module):
            target = name if name in known else name.rpartition(".")[0]
            if target in known:
                arrows.add((here, package_of(target, packages)))
    return sorted((a, b) for a, b in arrows if a < b and (b, a) in arrows)


def untested_modules(*packages: str, least_lines: int = 60) -> list[str]:
    """Modules of more lines that have no test file of their own name."""
    tests = {path.stem for path in (ROOT / "tests").rglob("test_*.py")}
    return [
        f"{module.name} ({module.num_lines})"
        for package in packages
        for module in modules(f"mrt_reward/{package}")
        if module.num_lines > least_lines and not _names_of_test(module) & tests
    ]


def _names_of_test(module: Module) -> set[str]:
    stem, folder = module.path.stem, module.path.parent.name
    return {f"test_{stem}", f"test_{folder}_{stem}"}


_VALUES = re.compile(r"^values?(_G?P)?$")
"""Names of a field that holds J of a trace's prefixes."""

_MANY = re.compile(r"\b(list|Sequence|Iterable|Future|Mapping|dict)\[")

NO_SCORED_TRACES = {
    "Extension": "holds values of what was thought beyond the trace's end, and no prefix of it",
    "StreamedTrace": "a line of a reply: the record itself, and its index",
    "AdvantageOut": "what a trace is paid, with the record itself where it was scored on the way",
}
"""Classes that hold values, or a scored trace, without being another form of one."""


def classes(module: Module) -> list[ast.ClassDef]:
    return [node for node in ast.walk(module.tree) if isinstance(node, ast.ClassDef)]


def scored_trace_types() -> list[str]:
    """Classes that are a scored trace in some form.

    They hold a trace's values in a field of their own, whether as `Value` records or as an array, or hold one
    `ScoredTrace` beside other things, or inherit from such a class.
    """
    found_in = [(module, node) for module in modules() for node in classes(module)]
    found: dict[str, str] = {}
    while True:
        more = {
            node.name: f"{module.name} {node.name}"
            for module, node in found_in
            if node.name not in found and node.name not in NO_SCORED_TRACES
            if any(ast.unparse(base).rpartition(".")[2] in found for base in node.bases)
            or any(_holds_values(field) for field in node.body)
        }
        if not more:
            return sorted(found.values())
        found |= more


def _holds_values(field: ast.stmt) -> bool:
    if not isinstance(field, ast.AnnAssign) or not isinstance(field.target, ast.Name):
        return False
    kind = ast.unparse(field.annotation)
    is_array = bool(_VALUES.match(field.target.id)) and bool(re.search(r"Floats|NDArray|tuple|list|Sequence", kind))
    holds_one = bool(re.search(r"\b(ScoredTrace|WholeScored|LenientScored)\b", kind)) and not _MANY.search(kind)
    return is_array or bool(re.search(r"\bValue\b", kind)) or holds_one


def docstring_share() -> float:
    """Lines of docstrings among all lines."""
    lines = 0
    for module in modules():
        for node in ast.walk(module.tree):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and node.body:
                first = node.body[0]
                if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
                    lines += (first.end_lineno or first.lineno) - first.lineno + 1
    return lines / sum(module.num_lines for module in modules())


def main() -> None:
    code, tests = (sum(module.num_lines for module in modules(*each)) for each in (SOURCES, ("tests",)))
    print(
        json.dumps(
            {
                "lines": code,
                "test lines to lines": round(tests / code, 3),
                "files": len(modules()),
                "function p90": p90(function_lengths()),
                "docstring share": round(docstring_share(), 3),
                "wide functions": wide_functions(),
                "typed dicts": typed_dicts(),
                "broad excepts": broad_excepts(),
                "long files": long_files(),
                "types of a scored trace": scored_trace_types(),
                "package cycles": package_cycles(),
                "modules without a test file": untested_modules("server", "service", "text", "client", "provers"),
            },
            indent=1,
        )
    )


if __name__ == "__main__":
    main()
