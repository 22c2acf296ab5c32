"""Leases, the rim: three small ports and the stores that answer them."""
