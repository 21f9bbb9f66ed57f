import os
from urllib.parse import unquote, urlsplit

url = urlsplit(os.environ["DATABASE_URL"])

DATABASES = {
    "default": {
        "ENGINE": "commitlog.drivers.django.postgresql",  # was: django.db.backends.postgresql
        "NAME": url.path.lstrip("/"),
        "HOST": url.hostname,
        "PORT": url.port,
        "USER": url.username,
        "PASSWORD": unquote(url.password or ""),
        "ATOMIC_REQUESTS": True,
        "OPTIONS": {"pool": True},
    }
}
INSTALLED_APPS = ["django_notes"]
ROOT_URLCONF = "django_notes.urls"
WSGI_APPLICATION = "django_notes.wsgi.application"
SECRET_KEY = "of the example"
ALLOWED_HOSTS = ["127.0.0.1"]
USE_TZ = True
