"""The real peers, where they are: what ``tools/peers/build`` made, else the path, else where runtimes keep plugins.

``./check`` links the folder of what it built as ``.venv/peers``.
"""

import os
import shutil
import sys

import pytest

PLACES = os.pathsep.join((f"{sys.prefix}/peers", os.environ.get("PATH", os.defpath), "/opt/cni/bin", "/usr/lib/cni"))
"""As PATH, for programs, and as CNI_PATH, for plugins."""


def peer(name: str) -> str | None:
    """The path of one; None when it is not here."""
    return shutil.which(name, path=PLACES)


def needs_peers(*names: str) -> pytest.MarkDecorator:
    """Skips where one of them is missing, by its name."""
    missing = [name for name in names if peer(name) is None]
    return pytest.mark.skipif(bool(missing), reason=f"{', '.join(missing)}: not built (tools/peers/build, needs Go)")
