"""The rim towards the kernel: one port, the real kernel, and a fake held to the same contract suite."""
