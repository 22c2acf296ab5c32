"""See: taps and tracepoints at the rim, sightings and their correlation pure.  Imports nothing from ``lab``."""
