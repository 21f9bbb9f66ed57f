from django.db import models


class Note(models.Model):
    text = models.TextField(unique=True)

    class Meta:
        db_table = "note"
