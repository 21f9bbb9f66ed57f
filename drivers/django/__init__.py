"""Django over the wrapped drivers: a database backend each."""
