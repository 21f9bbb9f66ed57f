"""The binlog of MySQL and MariaDB: events in, whole transactions out. No I/O."""
