"""The guide is what its commands print and draw: doing each page again changes neither page nor pictures."""

import shutil
from pathlib import Path

import pytest

from tests.kit.guide import differences, make, pages
from tests.kit.ordinary import MISSING

NEEDED = ("tcpdump", "conntrack", "etcd", "etcdctl")
ABSENT = ", ".join(tool for tool in NEEDED if not shutil.which(tool))


@pytest.mark.skipif(bool(MISSING), reason=str(MISSING))
@pytest.mark.skipif(bool(ABSENT), reason=f"{ABSENT}: not installed")
@pytest.mark.parametrize("page", pages(), ids=lambda page: page.stem)
def test_a_page_of_the_guide_is_what_comes_out_when_it_is_done(page: Path) -> None:
    made = make(page)
    changed = [file.name for file in differences(page, made)]
    assert changed == [], f"tools/guide {page.name} brings up to date:\n{made.text}"
