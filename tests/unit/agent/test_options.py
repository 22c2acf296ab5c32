"""Where an agent's files are, and which store it uses."""

from pathlib import Path

import pytest

from tulle.agent.options import AgentOptions, Paths


def test_every_path_is_below_the_root() -> None:
    paths = Paths(Path("/srv/node1"))
    found = (paths.state, paths.socket, paths.http, paths.subnet_env, paths.networks)
    assert [str(path.relative_to("/srv/node1")) for path in found] == [
        "var/lib/tulle",
        "run/tulle/agent.sock",
        "run/tulle/http.sock",
        "run/flannel/subnet.env",
        "var/lib/cni/networks",
    ]


@pytest.mark.parametrize(
    ("options", "url", "subnet_env"),
    [
        pytest.param(AgentOptions(), "sqlite:///var/lib/tulle/leases.db", "/run/flannel/subnet.env", id="defaults"),
        pytest.param(
            AgentOptions(root=Path("/n1")),
            "sqlite:///n1/var/lib/tulle/leases.db",
            "/n1/run/flannel/subnet.env",
            id="root",
        ),
        pytest.param(
            AgentOptions(root=Path("/n1"), store="sqlite:///x.db", subnet_file=Path("/tmp/s.env")),
            "sqlite:///x.db",
            "/tmp/s.env",
            id="given paths are taken as they are",
        ),
    ],
)
def test_what_is_not_given_has_flannels_place(options: AgentOptions, url: str, subnet_env: str) -> None:
    assert (options.store_url, str(options.subnet_env)) == (url, subnet_env)
    assert (options.lease_ttl_s, options.renew_margin_s, options.audit_period_s) == (86_400, 3_600, 10)
