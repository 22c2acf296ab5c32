"""Checks of what the network really does, each with its evidence."""
