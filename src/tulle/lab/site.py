"""A lab at work: its state as it stands in the file, and the namespaces that it lists."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tulle.errors import ConfigError
from tulle.kernel import netns
from tulle.lab.folder import LabFolder
from tulle.lab.processes import undisturbed
from tulle.lab.rootless import enter_holder
from tulle.lab.state import LabState, namespace_name
from tulle.lab.topology import LabNode


@dataclass(slots=True)
class Lab:
    """A lab and its folder.  Use it under the folder's lock only."""

    folder: LabFolder
    state: LabState

    @property
    def name(self) -> str:
        return self.state.name

    def note(self, state: LabState) -> None:
        """Write the state, before what it says is made."""
        self.folder.write(state)
        self.state = state

    def netns(self, name: str) -> Path:
        """The namespace of a node, a pod or the underlay."""
        return self.folder.netns(self.name) / namespace_name(self.name, name)

    def node_root(self, node: LabNode) -> Path:
        return self.folder.node_root(self.name, node.name)

    def enter(self) -> None:
        """Join a rootless lab's user namespace; nothing to do as root."""
        if self.state.holder is not None:
            enter_holder(self.state.holder.pid)

    def make_namespaces(self, names: Sequence[str]) -> None:
        """Make the namespaces of these nodes and pods.

        Raises ConfigError: one came to be since we looked.  It is somebody else's, so the state
        forgets it before anything is cleaned up.
        """
        for name in names:
            full = namespace_name(self.name, name)
            try:
                with undisturbed():  # a thread makes it, which an interrupt would leave at work behind our back
                    netns.create(full, self.folder.netns(self.name))
            except ConfigError:
                others = tuple(other for other in self.state.namespaces if other != full)
                self.note(replace(self.state, namespaces=others))
                raise ConfigError(full, "is already there and belongs to no lab", "choose another --name") from None

    def delete_namespaces(self, names: Sequence[str]) -> None:
        """Delete these, by full name; the kernel removes what is in them."""
        for name in names:
            netns.delete(name, self.folder.netns(self.name))
