from collections.abc import Iterator

from django.db import transaction
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.views.decorators.csrf import csrf_exempt

from .models import Note


@csrf_exempt
def notes(request: HttpRequest) -> HttpResponse | StreamingHttpResponse:
    if request.method == "POST":
        return HttpResponse(Note.objects.create(text=request.GET["text"]).text)

    def lines() -> Iterator[str]:
        for note in Note.objects.order_by("id").iterator():
            yield f"{note.text}\n"
        Note.objects.create(text=request.GET["visitor"])

    return StreamingHttpResponse(lines(), content_type="text/plain")


@csrf_exempt
def add_later(request: HttpRequest) -> HttpResponse:
    text = request.GET["text"]
    transaction.on_commit(lambda: Note(text=text).save())
    return HttpResponse(text)
