"""Pods attach as under a container runtime: by executing the CNI plugin, in the node's namespace.

The lab makes the pod's namespace and nothing in it.  Source: CNI specification 1.0.0 §2, §3.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import tulle
from tulle.errors import ProcessFailed
from tulle.lab.state import PodRecord

PLUGIN: Final = "tulle-cni"
NETWORK_NAME: Final = "cbr0"
POD_DEVICE: Final = "eth0"
TIMEOUT_S: Final = 30
CONFIG: Final = {"cniVersion": "1.0.0", "name": NETWORK_NAME, "type": "tulle"}
BRIDGE: Final = {"bridge": "cbr0"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Attachment:
    """One pod to attach.  ``netns`` is its namespace, ``root`` the root folder of its node, ``mode`` the plugin's."""

    pod: str
    node: str
    container_id: str
    netns: Path
    root: Path
    mode: str

    @property
    def config(self) -> bytes:
        """The network's configuration, as a runtime gives it to the plugin."""
        return json.dumps({**CONFIG, "mode": self.mode, **(BRIDGE if self.mode == "bridge" else {})}).encode()


def find_plugin() -> tuple[str, ...]:
    """The command that runs the plugin: the binary beside the package or on PATH, else the same in Python."""
    package = Path(tulle.__file__).parent
    for beside in (package / "bin" / PLUGIN, package / "cni" / PLUGIN):
        if os.access(beside, os.X_OK):
            return (str(beside),)
    found = shutil.which(PLUGIN)
    return (found,) if found else (sys.executable, "-I", "-S", str(package / "cni" / "shim.py"))


def attach(plugin: tuple[str, ...], attachment: Attachment) -> PodRecord:
    """ADD the pod.  Runs in the calling thread's network namespace, which has to be the node's.

    Raises ProcessFailed with the plugin's own words.
    """
    done = _execute(plugin, "ADD", attachment)
    try:
        answer = json.loads(done.stdout)
        if done.returncode == 0:
            addresses = tuple(str(ip["address"]) for ip in answer["ips"])
            return PodRecord(
                name=attachment.pod,
                node=attachment.node,
                container_id=attachment.container_id,
                addresses=addresses,
            )
        reason = f"{answer['msg']}: {answer.get('details', '')}".rstrip(": ")
    except (ValueError, KeyError, TypeError):
        reason = done.stderr.decode(errors="replace").strip() or f"no answer, exit code {done.returncode}"
    raise ProcessFailed(f"pod {attachment.pod}", f"{PLUGIN} ADD failed: {reason}")


def _execute(plugin: tuple[str, ...], verb: str, attachment: Attachment) -> subprocess.CompletedProcess[bytes]:
    try:
        return subprocess.run(
            plugin,
            input=attachment.config,
            env=_environment(plugin, verb, attachment),
            capture_output=True,
            timeout=TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise ProcessFailed(f"pod {attachment.pod}", f"{PLUGIN} {verb} took over {TIMEOUT_S} s") from None
    except OSError as error:
        raise ProcessFailed(plugin[0], f"cannot be executed: {error.strerror}") from None


def _environment(plugin: tuple[str, ...], verb: str, attachment: Attachment) -> Mapping[str, str]:
    return {
        "CNI_COMMAND": verb,
        "CNI_CONTAINERID": attachment.container_id,
        "CNI_NETNS": str(attachment.netns),
        "CNI_IFNAME": POD_DEVICE,
        "CNI_PATH": str(Path(plugin[0]).parent),
        "TULLE_ROOT": str(attachment.root),
        "PATH": os.environ.get("PATH", os.defpath),
    }
