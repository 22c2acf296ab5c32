"""Certificates for one test: an authority and what it signed, made with the ``openssl`` program."""

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

NEEDS_OPENSSL = pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate and its key."""

    cert: Path
    key: Path

    def write_public_key(self, path: Path) -> None:
        _openssl("ec", "-in", str(self.key), "-pubout", "-out", str(path))


@dataclass(frozen=True, slots=True)
class Authority:
    """A certificate authority in a folder."""

    folder: Path

    @property
    def ca(self) -> Path:
        return self.folder / "ca.pem"

    @classmethod
    def make(cls, folder: Path) -> "Authority":
        folder.mkdir(parents=True)
        authority = cls(folder)
        name = ("-x509", "-days", "2", "-subj", "/CN=test authority", "-out", str(authority.ca))
        _openssl("req", *_NEW_KEY, str(folder / "ca.key"), *name)
        return authority

    def sign(self, name: str, address: str = "127.0.0.1") -> Certificate:
        """A certificate for ``name`` at ``address``, as server and as client."""
        made = Certificate(self.folder / f"{name}.pem", self.folder / f"{name}.key")
        request, extensions = self.folder / f"{name}.csr", self.folder / f"{name}.ext"
        extensions.write_text(f"subjectAltName=IP:{address}\nextendedKeyUsage=serverAuth,clientAuth\n")
        _openssl("req", *_NEW_KEY, str(made.key), "-subj", f"/CN={name}", "-out", str(request))
        _openssl(
            *("x509", "-req", "-days", "2", "-in", str(request), "-out", str(made.cert)),
            *("-CA", str(self.ca), "-CAkey", str(self.folder / "ca.key"), "-CAcreateserial"),
            *("-extfile", str(extensions)),
        )
        return made


_NEW_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout")


def _openssl(*words: str) -> None:
    done = subprocess.run(["openssl", *words], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
