"""Text becomes token vectors. Nothing here knows Qdrant."""
