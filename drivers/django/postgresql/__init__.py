"""Django's PostgreSQL backend over the wrapped psycopg: `"ENGINE": "commitlog.drivers.django.postgresql"`."""
