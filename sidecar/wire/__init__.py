"""How bodies, media types and errors look on the wire: shared by all that answers HTTP, and no I/O."""
