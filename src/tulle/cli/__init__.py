"""Commands, thin: parse arguments, call a room, print."""
