"""commitlog: a verifiable history of the databases of running applications.

The repository's root is this package, so the folders a reader sees (drivers, cdc, transforms, schemas) are what a user
imports as `commitlog.drivers.psycopg`, `commitlog.cdc`, … and never a bare `drivers` in site-packages.
"""

__version__ = "0.1.0"
