"""The daemon: composition root, reconciler, lease keeper, control socket."""
