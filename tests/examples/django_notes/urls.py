from django.urls import path

from . import views

urlpatterns = [path("notes", views.notes), path("notes/later", views.add_later)]
