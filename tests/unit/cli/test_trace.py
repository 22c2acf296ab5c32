"""``tulle trace``: from places that are known by name to namespaces."""

from pathlib import Path

from tulle.cli.places import Place
from tulle.cli.trace import roles_of
from tulle.trace.spaces import Spaces, netns_id

OWN = Path("/proc/self/ns/net")


def test_places_that_have_gone_since_they_were_listed_are_none(tmp_path: Path) -> None:
    """Somebody's lab, which is taken down while another is traced."""
    pod, gone = Place(name="pod1", netns=OWN, kind="pod"), Place(name="pod2", netns=tmp_path / "gone", kind="pod")
    with Spaces((place.name, place.netns) for place in (gone, pod)) as spaces:
        assert list(roles_of([gone, pod], spaces)) == [(netns_id(OWN), "pod")]
