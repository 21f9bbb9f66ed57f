from django.core.asgi import get_asgi_application

from commitlog.drivers.asgi import CommitLogMiddleware

application = CommitLogMiddleware(get_asgi_application())
