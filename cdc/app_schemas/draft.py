"""A first app schema from a database's catalogs, or from a few documents of each collection: right as it stands, plain to read and correct.

Which columns are personal is guessed from their names, on the side of caution; a person decides.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from ...schemas.errors import Refused
from ...transforms.document_path import Keys, written
from ...transforms.table_name import TableName, quoted
from ..tail.table import CatalogColumn, Table

_HEAD = """\
# What of this database appears in its log. A {column} that is not named here, or is internal, is never recorded.
#
#   public     in clear; in a shared log, too, under the license below
#   personal   of a person; in clear in an own log, not in a shared one
#   private    the app's own; in clear in an own log, not in a shared one
#   internal   never recorded
#
# The classes below are guesses from the {column}s' names: read them, and correct them.{more}
# Then: commitlog schema check FILE

schema: commitlog.app/v1
app: {app}
database: main
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

_OF_COLLECTIONS = """
#
# path says where in a document a field stands, omit what is left out of its value, bson its type, for forks into tables. Below are the keys of
# a few documents of each collection; with additional: public beside fields: what documents have besides is recorded, too."""

FIELDS_MAX = 300
"""More keys at the top of a collection's documents are not names of fields, but data."""

_STRICT = ("public", "private", "personal", "internal")
"""The classes, each hiding more than the one before."""

_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")
_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)?")
_YAML_WORDS = frozenset("y n yes no on off true false null".split())


def draft(tables: Iterable[Table], *, app: str) -> str:
    """The text of an app schema of all tables that have a key.

    Args:
        tables: From the catalogs.
        app: The app's name.

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
    text = _HEAD.format(app=_scalar(app), column="column", more="")
    return (
        text
        + _left_out("Without a primary key, so they cannot be recorded before they have one", keyless)
        + _entities(entities)
    )


@dataclass(slots=True)
class Seen:
    """What some documents have at a path.

    Args:
        types: BSON type to the number of values.
        in_array: The path goes through an array.
    """

    types: dict[str, int] = field(default_factory=dict[str, int])
    in_array: bool = False


@dataclass(frozen=True, slots=True)
class Sample:
    """Some documents of a collection.

    Args:
        table: Its database and name.
        unfit: Why it cannot be recorded, or empty.
        documents: How many were looked at.
        seen: Path to what they have there, in the order it was found.
    """

    table: TableName
    unfit: str = ""
    documents: int = 0
    seen: dict[Keys, Seen] = field(default_factory=dict[Keys, Seen])


def draft_collections(samples: Iterable[Sample], *, app: str) -> str:
    """The text of an app schema of all collections; otherwise as `draft`.

    Raises:
        Refused: There is none.
    """
    names: set[str] = set()
    entities: list[str] = []
    unfit: list[str] = []
    for sample in samples:
        if sample.unfit:
            unfit.append(f"{quoted(sample.table)}: {sample.unfit}")
        else:
            entities.append(_collection(sample, names))
    if not entities:
        raise Refused("the database has no collection that can be recorded", hint="let the app make one first")
    text = _HEAD.format(app=_scalar(app), column="key", more=_OF_COLLECTIONS)
    return text + _left_out("Cannot be recorded", unfit) + _entities(entities)


def _left_out(why: str, names: list[str]) -> str:
    return f"\n# {why}:\n" + "".join(f"#   {_comment(name)}\n" for name in names) if names else ""


def _entities(entities: list[str]) -> str:
    return "\nentities:\n" + "\n".join(entities)


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
    name = _entity_name((table.namespace, table.name), names)
    lines = [f"  {_scalar(name)}:", f"    from: {_scalar(table.quoted)}"]
    lines.append(f"    key: [{', '.join(_scalar(name) for name in table.key)}]")
    lines.append("    fields:")
    return "\n".join([*lines, *(_field(column, table) for column in table.columns)]) + "\n"


def _collection(sample: Sample, names: set[str]) -> str:
    lines = [f"  {_scalar(_entity_name(sample.table, names))}:", f"    from: {_scalar(quoted(sample.table))}"]
    lines.append("    key: [_id]")
    if not sample.documents:
        lines.append("    # There is no document in it yet: name its fields.")
    lines.append("    fields:")
    tops = dict.fromkeys([("_id",), *(keys for keys in sample.seen if len(keys) == 1 and keys[0])])
    if len(tops) > FIELDS_MAX:
        lines.append(
            f"      # Its documents have {len(tops)} keys and more. Rather than each, name doc: {{class: …, path: $}}, the whole document."
        )
    named = {keys[0] for keys in tops if _is_plain(keys)}
    for keys in list(tops)[:FIELDS_MAX]:
        for at, line in _fields_at(keys, sample):
            name = at[0] if _is_plain(at) else _unused("_".join(at), named)
            named.add(name)
            lines.append(f"      {_scalar(name)}: {line}")
    return "\n".join(lines) + "\n"


def _is_plain(keys: Keys) -> bool:
    """Whether a field may have the key's name, and no path."""
    return len(keys) == 1 and "." not in keys[0] and not keys[0].startswith("$")


def _unused(name: str, names: set[str]) -> str:
    return next(n for n in (name, *(f"{name}_{count}" for count in range(2, len(names) + 3))) if n not in names)


def _fields_at(keys: Keys, sample: Sample) -> Iterator[tuple[Keys, str]]:
    """The field of a key at the top, and those of what within it must be classed more strictly: path, and the rest of the line."""
    if keys == ("_id",):
        yield keys, _line_of(keys, _class_of_key(sample), sample, [])
        return
    cls = classify(keys[0], sample.table[1])
    apart: list[Keys] = []
    for inner in sample.seen:
        if len(inner) > 1 and inner[:1] == keys and "" not in inner:
            hidden = any(inner[: len(other)] == other for other in apart)
            if not hidden and _STRICT.index(classify(inner[-1], inner[-2])) > _STRICT.index(cls):
                apart.append(inner)
    yield keys, _line_of(keys, cls, sample, [inner[1:] for inner in apart])
    for inner in apart:
        # What is in an array has no path of its own.
        if not sample.seen[inner].in_array:
            yield inner, _line_of(inner, classify(inner[-1], inner[-2]), sample, [])


def _class_of_key(sample: Sample) -> str:
    """A key is recorded whole: it is a person's where something in it is, or where people are called by a text."""
    within = (classify(keys[-1], keys[-2]) for keys in sample.seen if len(keys) > 1 and keys[0] == "_id")
    named = "string" in sample.seen.get(("_id",), Seen()).types and classify("name", sample.table[1]) == "personal"
    return "personal" if named or any(cls in ("personal", "internal") for cls in within) else "public"


def _line_of(keys: Keys, cls: str, sample: Sample, omit: list[Keys]) -> str:
    seen = sample.seen.get(keys, Seen())
    types = [name for name in seen.types if name != "null"]
    said = [f"class: {cls}"]
    if not _is_plain(keys):
        said.append(f"path: {_scalar(written(keys))}")
    if len(types) == 1:
        said.append(f"bson: {types[0]}")
    elif sorted(types) == ["int", "long"]:
        said.append("bson: long")
    if omit:
        said.append(f"omit: [{', '.join(_scalar(written(inner)) for inner in omit)}]")
    count = sum(seen.types.values())
    remarks = [
        *([" or ".join(types)] if len(types) > 1 else []),
        *([f"in {count} of {sample.documents}"] if count < sample.documents and keys != ("_id",) else []),
        *(["people write into it what they like"] if cls == "private" else []),
    ]
    return f"{{{', '.join(said)}}}" + (f"  # {_comment('; '.join(remarks))}" if remarks else "")


def _entity_name(table: TableName, names: set[str]) -> str:
    """The table's name as far as an entity's name allows it, with the database schema's where that is needed."""
    bare = re.sub(r"\W+", "_", table[1]).strip("_") or "table"
    name = bare[:60]
    if name in names:
        name = re.sub(r"\W+", "_", f"{table[0]}_{bare}")[:60]
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
