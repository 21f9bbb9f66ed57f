"""Django's MySQL and MariaDB backend over the wrapped PyMySQL: `"ENGINE": "commitlog.drivers.django.mysql"`."""
