"""The wheel's build hook: compile the CNI plugin (csrc/), static and hardened, into the wheel as tulle/bin/tulle-cni.

``CC`` may be a compiler for another machine: the wheel is tagged for the one that the binary is for.
An editable install finds it as src/tulle/bin/tulle-cni.  Without a C compiler or a static libc the build
says so in one line and goes on: the plugin in Python (``src/tulle/cni/shim.py``) does the same, more slowly.
"""

import os
import re
import shlex
import shutil
import struct
import subprocess
import sysconfig
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

BINARY: Final = Path("src/tulle/bin/tulle-cni")
WARNINGS: Final = ("-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-Wformat=2")
HARDENED: Final = ("-std=c11", "-O2", "-s", "-fstack-protector-strong", "-U_FORTIFY_SOURCE", "-D_FORTIFY_SOURCE=2")
WIDE: Final = ("-D_FILE_OFFSET_BITS=64", "-D_TIME_BITS=64")
"""On 32 bits too: inodes above 4 billion, and times after 2038."""
LINKED: Final = ("-Wl,-z,relro,-z,now", "-Wl,-z,noexecstack")
SHAPES: Final = (("-fPIE", "-static-pie"), ("-fno-pie", "-static"))
"""Best first: a libc without start-up code for static-pie still makes the other."""
MUSL: Final = Path(f"/usr/lib/{os.uname().machine}-linux-musl/rcrt1.o")
"""musl's start-up code for static-pie, which its wrapper of gcc does not link by itself."""
MACHINES: Final = {62: "linux_x86_64", 183: "linux_aarch64", 40: "linux_armv7l", 243: "linux_riscv64"}
"""A wheel's platform by its binary's ELF machine, without a libc: the binary is static, the rest is Python."""
ELF_MACHINE: Final = struct.Struct("<18xH")
ELF_HEADERS: Final = {1: struct.Struct("<28xI10xHH"), 2: struct.Struct("<32xQ14xHH")}
PT_INTERP: Final = 3
"""Source: elf(5); the program headers' place, size and number, by EI_CLASS."""


class CniPluginHook(BuildHookInterface[Any]):
    """Compiles before the wheel is packed, also for an editable install."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Add the binary, and with it the platform's tag.  ``version`` is "standard" or "editable"."""
        root = Path(self.root)
        if version == "editable":
            self._warn(build(root, root / BINARY))
            return
        self._made = tempfile.TemporaryDirectory()
        made = Path(self._made.name) / BINARY.name
        reason = build(root, made)
        self._warn(reason)
        if not reason:
            build_data["force_include"][str(made)] = "tulle/bin/tulle-cni"
            build_data["tag"] = f"py3-none-{platform(made)}"
            build_data["pure_python"] = False

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:  # noqa: ARG002  the hook's own shape
        """The binary is packed: forget where it was made."""
        if version != "editable":
            self._made.cleanup()

    def _warn(self, reason: str) -> None:
        if reason:
            self.app.display_warning(f"tulle-cni: not compiled ({reason}): the plugin in Python takes its place")


def build(root: Path, target: Path, compilers: Iterable[list[str]] = ()) -> str:
    """Compile, and put in place by renaming, since the old one may run; "" or why it was not possible."""
    reason = "no C compiler: install gcc or musl-gcc, or set CC"
    for compiler in compilers or _compilers():
        for shape in _shapes(compiler):
            reason = _compile(root, compiler, shape, target)
            if not reason:
                return ""
    target.unlink(missing_ok=True)  # one of an earlier build would be another version
    return reason


def platform(binary: Path) -> str:
    """The platform's part of a wheel's tag: what ``binary`` is for, taken for this machine where it is unheard of."""
    (machine,) = ELF_MACHINE.unpack_from(binary.read_bytes())
    return MACHINES.get(machine) or sysconfig.get_platform().replace("-", "_").replace(".", "_")


def _compile(root: Path, compiler: list[str], shape: tuple[str, ...], target: Path) -> str:
    target.parent.mkdir(exist_ok=True)
    version = f'-DTULLE_VERSION="{_version(root)}"'
    sources = sorted(map(str, (root / "csrc").glob("*.c")))
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        made = Path(folder) / target.name
        command = [*compiler, *WARNINGS, *HARDENED, *WIDE, *shape, *LINKED, version, "-o", str(made), *sources]
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False)
        except OSError as error:
            return f"{compiler[0]}: {error.strerror}"
        if done.returncode != 0:
            return f"{compiler[0]}: {_last_line(done.stderr)}"
        if not is_static(made):
            return f"{compiler[0]}: {' '.join(shape)}: made a binary that needs an interpreter"
        made.chmod(0o755)
        made.rename(target)
    return ""


def _shapes(compiler: list[str]) -> Iterator[tuple[str, ...]]:
    if Path(compiler[0]).name == "musl-gcc" and MUSL.exists():
        yield ("-fPIE", "-static", "-nostartfiles", str(MUSL), "-Wl,-pie,--no-dynamic-linker")
    yield from SHAPES


def is_static(binary: Path) -> bool:
    """Does it start by itself?  A host that runs it may have another libc, or none."""
    content = binary.read_bytes()
    place, size, count = ELF_HEADERS[content[4]].unpack_from(content)
    kinds = (int.from_bytes(content[at : at + 4], "little") for at in range(place, place + size * count, size))
    return PT_INTERP not in kinds


def _compilers() -> Iterator[list[str]]:
    """$CC alone when it is set; else what there is, the smallest libc first: it starts in a third of the time."""
    chosen = shlex.split(os.environ.get("CC", ""))
    if chosen:
        yield chosen
        return
    for name in ("musl-gcc", "cc", "gcc"):
        if shutil.which(name):
            yield [name]


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or ["failed"])[-1]


def _version(root: Path) -> str:
    found = re.search(r'__version__ = "([^"]+)"', (root / "src/tulle/__init__.py").read_text())
    return found[1] if found else "unknown"
