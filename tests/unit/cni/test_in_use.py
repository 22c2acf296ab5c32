"""Which addresses other networks of a node use, whoever serves them."""

import os
import time
from collections.abc import Iterable
from functools import partial
from ipaddress import IPv4Network
from pathlib import Path

from tulle.cni.files import Folder
from tulle.cni.in_use import InUse
from tulle.cni.ipam import Addresses


def use(root: Path, network: str, *names: str) -> None:
    (root / network).mkdir(parents=True, exist_ok=True)
    for name in names:
        (root / network / name).touch()


def make_old(*folders: Path) -> None:
    for folder in folders:
        os.utime(folder, ns=(0, time.time_ns() - 10**12))


def test_the_addresses_of_all_networks_but_ones_own(tmp_path: Path) -> None:
    use(tmp_path, "a", "10.244.1.2", "fd10::2", "lock", "released", "last_reserved_ip.0", "010.0.0.1")
    use(tmp_path, "b", "10.244.1.3")
    use(tmp_path, "c", "10.244.1.3", "10.244.1.4")
    (tmp_path / "10.244.1.9").touch()
    found = InUse(tmp_path)
    assert found.elsewhere("a") == {"10.244.1.3", "10.244.1.4"}
    assert found.elsewhere("c") == {"10.244.1.2", "fd10::2", "10.244.1.3"}
    assert found.anywhere() == {"10.244.1.2", "fd10::2", "10.244.1.3", "10.244.1.4"}


def test_without_networks_there_is_nothing(tmp_path: Path) -> None:
    assert InUse(tmp_path / "none").anywhere() == set()


def test_a_link_to_a_folder_is_no_network(tmp_path: Path) -> None:
    use(tmp_path, "outside", "10.244.1.2")
    (tmp_path / "networks").mkdir()
    (tmp_path / "networks/net").symlink_to(tmp_path / "outside")
    assert InUse(tmp_path / "networks").anywhere() == set()


def test_as_long_as_nothing_changes_the_answer_is_the_same_object(tmp_path: Path) -> None:
    use(tmp_path, "a", "10.244.1.2")
    use(tmp_path, "b", "10.244.1.3")
    use(tmp_path, "c", "10.244.1.4")
    make_old(tmp_path / "b", tmp_path / "c", tmp_path)
    found = InUse(tmp_path)
    before = found.elsewhere("a")
    use(tmp_path, "a", "10.244.1.5")
    assert found.elsewhere("a") is before
    use(tmp_path, "b", "10.244.1.6")
    assert found.elsewhere("a") == before | {"10.244.1.6"}


def test_a_network_that_comes_or_goes_is_seen(tmp_path: Path) -> None:
    make_old(tmp_path)
    found = InUse(tmp_path)
    assert found.elsewhere("a") == set()
    use(tmp_path, "b", "10.244.1.3")
    make_old(tmp_path / "b")
    assert found.elsewhere("a") == {"10.244.1.3"}
    (tmp_path / "b/10.244.1.3").unlink()
    (tmp_path / "b").rmdir()
    assert found.elsewhere("a") == set()


def unsynced(_: Path, __: Iterable[str]) -> None:
    pass


def test_two_networks_of_one_subnet_share_no_address_within_a_tick(tmp_path: Path) -> None:
    """Also where the clock of the disk stands still for long."""
    found = InUse(tmp_path)
    subnet, tick_ns = IPv4Network("10.244.1.0/24"), time.time_ns()
    networks = [
        Addresses(Folder(tmp_path / name, settle=unsynced), partial(found.elsewhere, name)) for name in ("a", "b")
    ]
    given: list[str] = []
    for number in range(20):
        (interface,) = networks[number % 2].allocate((f"c{number}", "eth0"), (subnet,))
        given.append(str(interface.ip))
        for folder in (tmp_path, *tmp_path.iterdir()):
            os.utime(folder, ns=(tick_ns, tick_ns))
    assert len(set(given)) == 20
