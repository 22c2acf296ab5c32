"""Decisions, pure: from leases, configuration and host facts to the state that the kernel should hold."""
