"""Being in a network namespace for one command.

``ip netns exec`` and ``ip -n`` want to remount /sys, which the kernel refuses where the root folder
is no mount point: in a plain chroot.  nsenter changes the network namespace alone.
"""


def enter(name: str) -> tuple[str, ...]:
    """The words before a command that is to run in the namespace ``/run/netns/NAME``."""
    return ("nsenter", f"--net=/run/netns/{name}", "--")
