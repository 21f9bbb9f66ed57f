from django.core.wsgi import get_wsgi_application

from commitlog.drivers.wsgi import CommitLogMiddleware

application = CommitLogMiddleware(get_wsgi_application())
