"""What a running worker tells of itself."""
