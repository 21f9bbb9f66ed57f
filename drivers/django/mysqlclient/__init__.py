"""Django's MySQL and MariaDB backend over the wrapped mysqlclient: `"ENGINE": "commitlog.drivers.django.mysqlclient"`."""
