"""Django's ORM: what a request writes carries the request's id into the database's own log.

    DATABASE_URL=postgresql://… DJANGO_SETTINGS_MODULE=django_notes.settings django-admin migrate
    DATABASE_URL=postgresql://… DJANGO_SETTINGS_MODULE=django_notes.settings django-admin runserver
    DATABASE_URL=postgresql://… uvicorn django_notes.asgi:application

Two places matter: `ENGINE` in settings.py, and the middleware around the application in wsgi.py or asgi.py. It covers
what Django's own middleware cannot: ATOMIC_REQUESTS, streamed responses, and what runs when the response is closed.
"""
