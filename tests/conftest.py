"""What every test session shares: a skip can be made to count as a failure, and how hard properties are tried."""

import os
from collections.abc import Generator
from pathlib import Path

import pytest
from hypothesis import settings

NO_SKIPS = "--no-skips"

settings.register_profile("ci", derandomize=True, max_examples=50, deadline=None, database=None)
settings.register_profile("quick", derandomize=True, max_examples=10, deadline=None, database=None)
settings.register_profile("deep", max_examples=5_000, deadline=None)
settings.load_profile(os.environ.get("TULLE_PROPERTIES", "ci"))


@pytest.fixture(scope="session")
def builds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the plugin is compiled for other machines, once."""
    return tmp_path_factory.mktemp("builds")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(NO_SKIPS, action="store_true", help="a skipped test is a failure")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.skipped and not hasattr(report, "wasxfail") and item.config.getoption(NO_SKIPS):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        report.outcome, report.longrepr = "failed", f"{item.nodeid}: not run: {reason}"
    return report
