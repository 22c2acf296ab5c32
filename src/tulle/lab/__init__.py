"""One machine as a cluster: topology (pure) and runtime."""
