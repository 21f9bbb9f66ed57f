"""What `doctor` and `status` say."""
