"""The CNI plugin: attach (pure), address management, the server in the agent, the shim outside it."""
