"""What is known, checked and made of a MongoDB replica set beside its stream."""
