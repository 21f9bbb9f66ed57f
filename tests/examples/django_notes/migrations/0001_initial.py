from typing import Any

from django.db import migrations, models


def write_the_first_one(apps: Any, schema_editor: Any) -> None:
    apps.get_model("django_notes", "Note").objects.create(text="the first one")


class Migration(migrations.Migration):
    initial = True
    operations = (
        migrations.CreateModel(
            "Note",
            [("id", models.BigAutoField(primary_key=True)), ("text", models.TextField(unique=True))],
            options={"db_table": "note"},
        ),
        migrations.RunPython(write_the_first_one),
    )
