"""The lab's page served to a browser on this machine: what a request may ask, and the small server that hears it."""
