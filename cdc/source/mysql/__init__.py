"""What is known, checked and made of a MySQL or MariaDB beside its stream."""
