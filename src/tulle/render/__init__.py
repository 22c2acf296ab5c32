"""Pictures, pure: a journey or a cluster becomes terminal text, SVG, HTML."""
