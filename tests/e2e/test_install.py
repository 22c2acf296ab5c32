"""What a stranger gets: a wheel built from this tree, installed into an environment of its own, without a network."""

import os
import shutil
import stat
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from collections.abc import Mapping
from pathlib import Path

import msgspec
import pytest

from hatch_build import is_static
from tests.kit.shims import CONF, CROSS, NO_BINARY
from tulle import __version__

TREE = Path(__file__).parents[2]
SOURCES = ("pyproject.toml", "hatch_build.py", "README.md", "LICENSE", "src", "csrc", "tools")
OFFLINE = ("--no-index", "--no-deps", "--no-build-isolation", "--disable-pip-version-check", "-q")
HATCHLING = (sys.executable, "-m", "hatchling", "build", "-t")
PLATFORM = sysconfig.get_platform().replace("-", "_").replace(".", "_")
RELEASED = {"amd64": "linux_x86_64", "arm64": "linux_aarch64", "armv7": "linux_armv7l"}
COMPILERS = ("musl-gcc", *(compiler for compiler, _ in CROSS.values()))
NO_CROSS = next((f"{name} is not installed" for name in COMPILERS if shutil.which(name) is None), None)
needs_compilers = pytest.mark.skipif(NO_CROSS is not None, reason=str(NO_CROSS))


def run(*words: str | Path, environment: Mapping[str, str] = os.environ, stdin: bytes = b"", place: Path = TREE) -> str:
    done = subprocess.run(
        words, env=dict(environment), input=stdin, cwd=place, capture_output=True, check=False, timeout=100
    )
    assert done.returncode == 0, done
    return done.stdout.decode() + done.stderr.decode()


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what a build reads, so that no other test's binary is replaced."""
    copy = tmp_path_factory.mktemp("tree")
    run("cp", "-r", *(TREE / name for name in SOURCES), copy)
    run("rm", "-rf", copy / "src/tulle/bin")
    return copy


def wheel(tree: Path, folder: Path, environment: Mapping[str, str] = os.environ) -> tuple[Path, str]:
    """The wheel, and what the build said."""
    said = run(*HATCHLING, "wheel", "-d", folder, environment=environment, place=tree)
    (made,) = folder.glob("*.whl")
    return made, said


@pytest.mark.skipif(NO_BINARY is not None, reason=str(NO_BINARY))
def test_the_wheel_gives_the_commands_and_a_plugin_that_runs(tree: Path, tmp_path: Path) -> None:
    made, _ = wheel(tree, tmp_path)
    assert made.name == f"tulle-{__version__}-py3-none-{PLATFORM}.whl"
    venv.create(tmp_path / "venv", with_pip=True)
    scripts = tmp_path / "venv/bin"
    run(scripts / "python", "-m", "pip", "install", *OFFLINE, made)
    beside = {"PYTHONPATH": str(Path(msgspec.__file__).parents[1]), "PATH": os.defpath}
    for command in ("tulle", "tulled"):
        assert __version__ in run(scripts / command, "--version", environment=beside)
    (plugin,) = (tmp_path / "venv/lib").glob("python*/site-packages/tulle/bin/tulle-cni")
    assert '"cniVersion":"1.0.0"' in run(plugin, environment={"CNI_COMMAND": "VERSION"}, stdin=CONF)
    assert run(plugin, "--version") == f"tulle-cni {__version__}\n"


@pytest.mark.skipif(NO_BINARY is not None, reason=str(NO_BINARY))
def test_the_plugin_in_the_wheel_is_static_and_executable(tree: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(wheel(tree, tmp_path)[0]) as archive:
        entry = archive.getinfo("tulle/bin/tulle-cni")
        assert stat.S_IMODE(entry.external_attr >> 16) & 0o111 == 0o111
        assert is_static(Path(archive.extract(entry, tmp_path)))
    assert not is_static(Path(sys.executable).resolve())


def test_without_a_compiler_the_build_says_so_and_goes_on(tree: Path, tmp_path: Path) -> None:
    made, said = wheel(tree, tmp_path, {**os.environ, "CC": "/bin/false"})
    assert made.name == f"tulle-{__version__}-py3-none-any.whl"
    assert [line for line in said.splitlines() if "tulle-cni: not compiled" in line], said
    with zipfile.ZipFile(made) as archive:
        names = archive.namelist()
    assert "tulle/cni/shim.py" in names
    assert "tulle/bin/tulle-cni" not in names


def test_a_binary_of_an_earlier_build_is_not_packed_for_this_one(tree: Path, tmp_path: Path) -> None:
    stale = tree / "src/tulle/bin/tulle-cni"
    stale.parent.mkdir(exist_ok=True)
    stale.write_bytes(b"old")
    made, _ = wheel(tree, tmp_path, {**os.environ, "CC": "/bin/false"})
    with zipfile.ZipFile(made) as archive:
        assert "tulle/bin/tulle-cni" not in archive.namelist()


def test_a_compiler_that_does_not_exist_is_named(tree: Path, tmp_path: Path) -> None:
    _, said = wheel(tree, tmp_path, {**os.environ, "CC": "no-such-compiler"})
    assert "no-such-compiler" in said


def test_the_source_archive_brings_the_plugins_source_and_no_binary(tree: Path, tmp_path: Path) -> None:
    run(*HATCHLING, "sdist", "-d", tmp_path, place=tree)
    (made,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(made) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {f"csrc/{path.name}" for path in (TREE / "csrc").glob("*.[ch]")} < names
    assert {"hatch_build.py", "pyproject.toml", "src/tulle/cni/shim.py"} < names
    assert "src/tulle/bin/tulle-cni" not in names


def release(tree: Path, folder: Path) -> dict[str, bytes]:
    """What tools/wheels makes, by name."""
    run(tree / "tools/wheels", folder, environment={**os.environ, "PYTHON": sys.executable}, place=tree)
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture(scope="module")
def released(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("released")
    release(tree, folder)
    return folder


@needs_compilers
@pytest.mark.parametrize("machine", RELEASED)
def test_a_machines_wheel_installs_there_and_nowhere_else(released: Path, tmp_path: Path, machine: str) -> None:
    made = released / f"tulle-{__version__}-py3-none-{RELEASED[machine]}.whl"
    for other, platform in RELEASED.items():
        pip = (sys.executable, "-m", "pip", "install", *OFFLINE, "--only-binary=:all:", "--target", tmp_path / other)
        words = [str(word) for word in (*pip, "--platform", platform, made)]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        assert (done.returncode == 0) == (other == machine), done.stderr
    packed = tmp_path / machine / "tulle/bin/tulle-cni"
    assert packed.read_bytes() == (released / f"tulle-cni-{machine}").read_bytes()


@needs_compilers
def test_the_same_tree_gives_the_same_bytes_in_another_folder(tree: Path, released: Path, tmp_path: Path) -> None:
    run("cp", "-r", tree, tmp_path / "tree")
    assert release(tmp_path / "tree", tmp_path / "again") == {p.name: p.read_bytes() for p in released.iterdir()}
