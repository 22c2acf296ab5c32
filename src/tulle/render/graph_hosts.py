"""The hosts on a cluster's underlay that are no nodes, as boxes that hang on its line."""

from typing import Final

from tulle.render.cluster import ClusterHost
from tulle.render.scene import Point, Said
from tulle.render.svg_parts import Bilingual, cut, el, spoken, text

ROOM: Final = 46
"""What the picture grows by when there is one."""
_BOX: Final = 126
_GAP: Final = 12
_LINE: Final = 54
"""From the last node's foot down to the underlay's line, and to the boxes."""
_TOP: Final = 84
_STATES: Final = {"paused": Said("paused", "已暂停"), "gone": Said("does not run", "未运行")}


def hosts_row(hosts: tuple[ClusterHost, ...], bottom: int, right: int, choose: Bilingual) -> str:
    """The boxes, below a row of nodes that ends at ``bottom``, the last of them at ``right``."""
    left = right - len(hosts) * _BOX - (len(hosts) - 1) * _GAP
    return "".join(_host(host, left + at * (_BOX + _GAP), bottom, choose) for at, host in enumerate(hosts))


def _host(host: ClusterHost, x: int, bottom: int, choose: Bilingual) -> str:
    """The wire comes down at the box's right end, where it crosses no name of a line."""
    y, middle = bottom + _TOP, x + _BOX // 2
    drawn = el("path", class_="lu", d=f"M{x + _BOX - 12} {bottom + _LINE}V{y}")
    drawn += el("rect", class_="nd", x=x, y=y, width=_BOX, height=38, rx=7)
    drawn += text(Point(middle, y + 16), cut(host.name, _BOX - 8, 13), class_="sm b k")
    below = Point(middle, y + 31)
    if host.state in _STATES:
        return drawn + spoken(_STATES[host.state], lambda told: text(below, told, class_="xs bad k"), choose)
    address = cut(host.addresses[0], _BOX - 4, 11, mono=True) if host.addresses else ""
    return drawn + text(below, address, class_="mono s m k")
