"""The oplog of MongoDB: entries in, whole transactions out. No I/O."""
