"""Bytes ⇄ values: sans-IO codecs.  Any bytes become a value or a ``DecodeError``, nothing else."""
