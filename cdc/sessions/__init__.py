"""Session records of the mesh: read, kept, joined."""
