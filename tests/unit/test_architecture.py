"""The house's shape, checked: who may import whom, what the pure part may touch, how large a thing may be.

The order of the rooms is the design's table, the docstring rule its style.  An exception stands
here with its reason or nowhere.
"""

import ast
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

SOURCE = Path(__file__).parents[2] / "src" / "tulle"

ROOMS = (
    ("errors", "seams", "http_connection"),
    ("model",),
    ("ownership",),
    ("wire",),
    ("plan",),
    ("kernel",),
    ("store",),
    ("cni",),
    ("agent",),
    ("trace",),
    ("doctor",),
    ("lab",),
    ("render",),
    ("serve",),
    ("cli",),
    ("__init__", "__main__"),
)
"""A module imports from its own line and from those above it."""

PURE_ROOMS = ("errors", "model", "ownership", "wire", "plan", "render")
PURE_MODULES = frozenset(
    (
        *("cni.attach", "cni.holdings", "cni.host_local", "cni.pools"),
        *("lab.checks", "lab.labfile", "lab.state", "lab.topology", "lab.underlay"),
        *("trace.changes", "trace.correlate", "trace.decided", "trace.diagnose", "trace.journey"),
        *("trace.json", "trace.ordering", "trace.places", "trace.probe_packet", "trace.reasons", "trace.rules_devices"),
        *("trace.rules_filters", "trace.rules_routes", "trace.rules_tunnel", "trace.scene", "trace.sightings"),
        *("serve.acts", "serve.answers", "serve.requests"),
        *("trace.steps", "trace.topology", "trace.trail", "trace.verdict", "trace.waits"),
    )
)
"""The pure modules of rooms that also have a rim."""
RIM = {"kernel", "store", "agent", "cli"}
OF_THE_SYSTEM = frozenset(
    (
        *("asyncio", "ctypes", "fcntl", "importlib.metadata", "io", "logging", "mmap", "multiprocessing", "os"),
        *("pathlib", "pwd", "queue", "random", "resource", "secrets", "select", "selectors", "shutil", "signal"),
        *("socket", "sqlite3", "subprocess", "sys", "tempfile", "termios", "threading", "time", "tty"),
    )
)
"""Standard modules that act, wait, read clocks, draw chance or exist on one kind of machine only."""
PURE_MAY: dict[tuple[str, str], str] = {
    ("errors", "os"): "strerror only: the text of an error number, the same everywhere",
    ("wire.cni", "pathlib"): "PurePosixPath only, which touches no file system",
}

CONVENTIONS = {"add_parser"}
"""Functions of one name and one meaning in every command's module."""
FORBIDDEN_NAMES = {"utils", "util", "common", "helpers", "helper", "manager", "misc"}
LONGEST_MODULE = 400
TABLES = {"render.walk_words": "every sentence of a walk, twice: one table in two languages"}
LONGEST_FUNCTION = 50


@dataclass(frozen=True, slots=True)
class Module:
    """One source file.  ``name`` is dotted, without ``tulle.``."""

    name: str
    path: Path
    tree: ast.Module

    @property
    def room(self) -> str:
        return self.name.split(".")[0]

    @property
    def is_pure(self) -> bool:
        return self.room in PURE_ROOMS or self.name in PURE_MODULES


@cache
def modules() -> tuple[Module, ...]:
    return tuple(
        Module(_name(path), path, ast.parse(path.read_text(), str(path))) for path in sorted(SOURCE.rglob("*.py"))
    )


def _name(path: Path) -> str:
    parts = path.relative_to(SOURCE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)


def imports(module: Module) -> Iterator[str]:
    """Every module that ``module`` imports, wherever the line stands, for types only too."""
    for node in ast.walk(module.tree):
        match node:
            case ast.Import(names=names):
                yield from (alias.name for alias in names)
            case ast.ImportFrom(module=str(source), names=names, level=0):
                yield source
                yield from (f"{source}.{alias.name}" for alias in names if source in {"tulle", "importlib"})
            case ast.ImportFrom():
                raise AssertionError(f"{module.name}: a relative import")
            case _:
                pass


def own_imports(module: Module) -> set[str]:
    """The rooms of ours that it imports from.  The version is nobody's room."""
    found = {name.split(".")[1] for name in imports(module) if name.startswith("tulle.")}
    return found - {"__version__"}


def line(room: str) -> int:
    return next(number for number, names in enumerate(ROOMS) if room in names)


def broken(rule: Callable[[Module], Iterable[object]], where: Callable[[Module], bool] = lambda _: True) -> str:
    """What breaks the rule, a line each; one test over all modules, since a thousand tests say no more."""
    return "\n".join(f"{module.name}: {fault}" for module in modules() if where(module) for fault in rule(module))


def test_a_room_imports_only_from_the_rooms_above_it() -> None:
    def below(module: Module) -> Iterator[str]:
        return (room for room in own_imports(module) if line(room) > line(module.room))

    assert broken(below) == ""


def test_the_trace_knows_nothing_of_the_lab() -> None:
    assert broken(lambda module: own_imports(module) & {"lab"}, lambda module: module.room == "trace") == ""


def test_the_pure_part_imports_nothing_of_the_operating_system() -> None:
    def system(module: Module) -> Iterator[str]:
        found = {name for name in imports(module) if name.split(".")[0] in OF_THE_SYSTEM or name in OF_THE_SYSTEM}
        return (name for name in found if (module.name, name.split(".")[0]) not in PURE_MAY)

    assert broken(system, lambda module: module.is_pure) == ""


def test_the_pure_part_does_not_know_the_rim() -> None:
    assert broken(lambda module: own_imports(module) & RIM, lambda module: module.is_pure) == ""


def test_no_module_is_named_for_nothing() -> None:
    assert broken(lambda module: FORBIDDEN_NAMES.intersection(module.name.split("."))) == ""


def test_a_module_is_read_in_one_sitting() -> None:
    def length(module: Module) -> Iterator[str]:
        lines = len(module.path.read_text().splitlines())
        if lines > LONGEST_MODULE:
            yield f"{lines} lines"

    assert broken(length, lambda module: module.name not in TABLES) == ""


def test_a_function_is_short() -> None:
    def long(module: Module) -> Iterator[str]:
        for node in ast.walk(module.tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and _lines(node) > LONGEST_FUNCTION:
                yield f"{node.name}: {_lines(node)} lines"

    assert broken(long) == ""


def _lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Without its docstring, which may be as long as it needs."""
    docstring = node.body[0] if ast.get_docstring(node) else None
    said = 0 if docstring is None else (docstring.end_lineno or 0) - docstring.lineno + 1
    return (node.end_lineno or 0) - node.lineno + 1 - said


def test_whatever_is_public_says_what_it_is_for() -> None:
    def silent(module: Module) -> Iterator[str]:
        if not ast.get_docstring(module.tree):
            yield "the module itself"
        yield from _silent(module.tree, "")

    assert broken(silent) == ""


def _silent(node: ast.Module | ast.ClassDef, prefix: str) -> Iterator[str]:
    """Public classes and functions without a docstring.  A method, or a single statement, may speak for itself."""
    for child in node.body:
        if not isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) or child.name.startswith("_"):
            continue
        is_class = isinstance(child, ast.ClassDef)
        says_it_itself = not is_class and (isinstance(node, ast.ClassDef) or len(child.body) == 1)
        if not ast.get_docstring(child) and not says_it_itself and child.name not in CONVENTIONS:
            yield prefix + child.name
        if isinstance(child, ast.ClassDef):
            yield from _silent(child, f"{prefix}{child.name}.")


BLOCKER = """
import importlib, sys
blocked, wanted = (argument.split(",") for argument in sys.argv[1:])

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name in blocked:
            raise ImportError(f"{name}: there is no operating system here")

sys.meta_path.insert(0, Blocker())
for name in blocked:
    sys.modules.pop(name, None)
for name in wanted:
    importlib.import_module(name)
"""
NEEDED_BY_PYTHON = frozenset(
    ("importlib.metadata", "io", "os", "pathlib", "random", "shutil", "sys", "tempfile", "threading", "time")
)
"""What dataclasses, ipaddress and importlib.resources import for themselves."""


def test_the_pure_part_is_imported_where_there_is_no_operating_system() -> None:
    blocked = (OF_THE_SYSTEM | {"_socket", "_posixsubprocess", "_ctypes", "_sqlite3", "_ssl"}) - NEEDED_BY_PYTHON
    wanted = [f"tulle.{module.name}" for module in modules() if module.is_pure]
    command = [sys.executable, "-I", "-c", BLOCKER, ",".join(blocked), ",".join(wanted)]
    done = subprocess.run(command, check=False, timeout=60, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
