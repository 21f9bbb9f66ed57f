"""A first app schema from a database's catalogs: right as it stands, plain to read and correct.

Which columns are personal is guessed from their names, on the side of caution; a person decides.
"""

import re
from collections.abc import Iterable

from ...schemas.errors import Refused
from ..tail.table import CatalogColumn, Table

_HEAD = """\
# What of this database appears in its log. A column that is not named here, or is internal, is never recorded.
#
#   public     in clear; in a shared log, too, under the license below
#   personal   of a person; in clear in an own log, not in a shared one
#   private    the app's own; in clear in an own log, not in a shared one
#   internal   never recorded
#
# The classes below are guesses from the columns' names: read them, and correct them.
# Then: commitlog schema check FILE

schema: commitlog.app/v1
app: {app}
database: {database}
# This one holds for every build. For one build or some versions: a file with builds: ["1.4.*"] and without default.
default: true
# license: CC-BY-4.0    # for the public fields; a shared log needs it
"""

_PERSONAL_WORDS = frozenset(
    "addr address avatar bio birth birthdate birthday born city contact dob email fax firstname fullname gender geo iban ip lastname"
    " lat latitude lng login lon longitude mail mobile nationality nickname passport phone photo postal postcode recipient salary"
    " sex signature ssn street surname tax tel telephone username zip zipcode".split()
)
"""Words of a column's name that tell of a person."""

_NAME_OF_PERSON = frozenset(
    "author contact customer display family first full given last maiden middle nick owner recipient sender user".split()
)
"""Words before `name` that make it a person's."""

_PEOPLE = frozenset(
    "account accounts author authors client clients contact contacts customer customers employee employees guest guests"
    " member members patient patients people person persons profile profiles student students subscriber subscribers user"
    " users".split()
)
"""Words of a table's name that make its `name` a person's."""

_SECRET_WORDS = frozenset(
    "apikey credential credentials hash otp passphrase passwd password pin pwd salt secret token totp".split()
)
"""Words of a column's name that tell of what opens doors."""

_FREE_TEXT_WORDS = frozenset("body comment comments description memo message note notes remark remarks text".split())
"""Words of a column that people write into what they like."""

_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")
_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)?")
_YAML_WORDS = frozenset("y n yes no on off true false null".split())


def draft(tables: Iterable[Table], *, app: str, database: str = "main") -> str:
    """The text of an app schema of all tables that have a key.

    Args:
        tables: From the catalogs.
        app: The app's name.
        database: The app's own name of the database.

    Raises:
        Refused: No table has a key.
    """
    names: set[str] = set()
    entities: list[str] = []
    keyless: list[str] = []
    for table in tables:
        if table.key:
            entities.append(_entity(table, names))
        else:
            keyless.append(table.quoted)
    if not entities:
        raise Refused("the database has no table with a primary key: nothing can be recorded", hint="give a table one")
    text = _HEAD.format(app=_scalar(app), database=_scalar(database))
    if keyless:
        text += "\n# Without a primary key, so they cannot be recorded before they have one:\n"
        text += "".join(f"#   {_comment(name)}\n" for name in keyless)
    return f"{text}\nentities:\n" + "\n".join(entities)


def classify(column: str, table: str) -> str:
    """The class that a column's name speaks for."""
    words = [word.lower() for word in _WORD.findall(column)]
    joined = "".join(words)
    if not _SECRET_WORDS.isdisjoint([*words, joined]):
        return "internal"
    if not _PERSONAL_WORDS.isdisjoint([*words, joined]) or joined == "useragent":
        return "personal"
    if "name" in words:
        of_people = not _PEOPLE.isdisjoint(word.lower() for word in _WORD.findall(table))
        if not _NAME_OF_PERSON.isdisjoint(words) or (of_people and words == ["name"]):
            return "personal"
    return "private" if not _FREE_TEXT_WORDS.isdisjoint(words) else "public"


def _entity(table: Table, names: set[str]) -> str:
    lines = [f"  {_scalar(_entity_name(table, names))}:", f"    from: {_scalar(table.quoted)}"]
    lines.append(f"    key: [{', '.join(_scalar(name) for name in table.key)}]")
    lines.append("    fields:")
    return "\n".join([*lines, *(_field(column, table) for column in table.columns)]) + "\n"


def _entity_name(table: Table, names: set[str]) -> str:
    """The table's name as far as an entity's name allows it, with the database schema's where that is needed."""
    bare = re.sub(r"\W+", "_", table.name).strip("_") or "table"
    name = bare[:60]
    if name in names:
        name = re.sub(r"\W+", "_", f"{table.namespace}_{bare}")[:60]
    count = 2
    while name in names:
        name, count = f"{bare[:56]}_{count}", count + 1
    names.add(name)
    return name


def _field(column: CatalogColumn, table: Table) -> str:
    cls = classify(column.name, table.name)
    if column.name in table.key and cls == "internal":
        # A key that is not recorded would leave the whole table out.
        cls = "personal"
    free_text = "; people write into it what they like" if cls == "private" else ""
    return f"      {_scalar(column.name)}: {{class: {cls}}}  # {_comment(column.engine_type)}{free_text}"


def _scalar(text: str) -> str:
    """Text as YAML reads it back."""
    if _PLAIN.fullmatch(text) and text.lower() not in _YAML_WORDS:
        return text
    if '"' in text and "'" not in text and text.isprintable():
        return f"'{text}'"
    return f'"{"".join(map(_escaped, text))}"'


def _escaped(char: str) -> str:
    if char in '"\\':
        return "\\" + char
    if char.isprintable():
        return char
    return f"\\u{ord(char):04x}" if ord(char) <= 0xFFFF else f"\\U{ord(char):08x}"


def _comment(text: str) -> str:
    return "".join(char if char.isprintable() else _escaped(char) for char in text)
