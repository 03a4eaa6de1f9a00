"""Token vectors in Qdrant: create, add, search, delete."""
