"""What an SQL statement of PostgreSQL may do to a transaction, told from its text without asking the server.

It is no parser. In doubt it answers what costs time, never what loses a tag: a SELECT that calls a function it does not
know may write. What it cannot see is a write behind a plain name: a view, an operator or a rule that calls a function.
"""

import re
from enum import Enum
from functools import lru_cache
from typing import NamedTuple


class Kind(Enum):
    """What a driver has to know of a statement before it sends it."""

    READ = "changes no rows"
    WRITE = "may change rows, and may stand in a transaction block"
    BEGIN = "starts a transaction block"
    COMMIT = "commits"
    PREPARE = "prepares the transaction for a two-phase commit"
    ROLLBACK = "rolls back the whole transaction"
    COPY = "COPY that may change rows"
    SCRIPT = "several statements, none of which ends a transaction; may change rows"
    SCRIPT_COMMIT = "several statements, one of which begins or ends a transaction"
    OPAQUE = "may change rows, and may commit by itself or refuse a transaction block"
    HELD = "declares a cursor that may change rows, and does so when its transaction commits"


TEXT_MAX = 4096
"""Longer texts are not remembered: they carry their data within, and come once."""

_HIDDEN = re.compile(
    r"""(?P<comment>--[^\n]*|/\*.*?\*/)
    |(?P<name>"(?:[^"]|"")*")
    |(?<![\w$])e'(?:[^'\\]|\\.|'')*'|'(?:[^']|'')*'|\$(?P<tag>(?:[a-z_]\w*)?)\$.*?\$(?P=tag)\$""",
    re.DOTALL | re.VERBOSE,
)
_FIRST_WORD = re.compile(r"[\s(]*([a-z]+)")
_LOCKING = re.compile(r"\bfor\s+(?:no\s+key\s+)?update\b")
_WRITING = re.compile(r"\b(?:insert|update|delete|merge|truncate|into)\b")
_CALLED = re.compile(r"([\w$.\"]+)\s*\(")
_NO_BLOCK = re.compile(r"\b(?:concurrently|database|system|subscription|tablespace)\b")
_COMMITTING = re.compile(r"commit|rollback|call|\bdo\s*(?:'|\$|e'|language)")
_STRUCTURE = re.compile(r"[();]|\bbegin\s+atomic\b|\bcase\b|\bend\b")
_HOLD = re.compile(r"\bwith\s+hold\b")
_CHAIN = re.compile(r"\band\s+chain\b")
_UNCLOSED = re.compile(r"'|\"|/\*|\$\w*\$")

_WRITES = frozenset("insert update delete merge truncate execute".split())
_QUERIES = frozenset("select with values table explain".split())
# Event triggers may write rows then.
_DEFINITIONS = frozenset("alter comment create drop grant import reassign refresh revoke security".split())
_HARMLESS = frozenset(
    """abort analyse analyze checkpoint close cluster deallocate declare discard fetch listen load lock move notify
    reindex release reset rollback savepoint set show unlisten vacuum""".split()
)
_KNOWN_CALLS = frozenset(
    # Words that stand before a parenthesis and are no functions, then type modifiers, then functions that only compute.
    """all and any array as between by case cube distinct else except exists filter from group grouping having if in
    intersect is join lateral like ilike limit materialized not offset on only or order over partition recursive rollup
    row select sets similar some then to union using values when where window with within
    bit char character decimal interval numeric time timestamp timestamptz varchar varying
    abs age array_agg array_append array_cat array_length array_position array_remove array_to_string avg bool_and
    bool_or btrim cardinality cast ceil ceiling char_length clock_timestamp coalesce concat concat_ws corr count
    cume_dist current_database current_date current_schema current_setting current_timestamp current_user date
    date_part date_trunc decode dense_rank div encode every exp extract first_value floor format format_type
    generate_series generate_subscripts greatest initcap json_agg json_array_elements json_array_length
    json_build_array json_build_object json_each json_object_agg json_typeof jsonb_agg jsonb_array_elements
    jsonb_array_elements_text jsonb_array_length jsonb_build_array jsonb_build_object jsonb_each jsonb_each_text
    jsonb_extract_path jsonb_extract_path_text jsonb_object_agg jsonb_object_keys jsonb_path_exists jsonb_path_query
    jsonb_set jsonb_strip_nulls jsonb_to_record jsonb_to_recordset jsonb_typeof justify_days justify_hours lag
    last_value lead least left length ln log lower lpad ltrim make_date make_interval make_timestamp max md5 min mod
    mode now nth_value ntile nullif num_nonnulls num_nulls obj_description octet_length overlay percent_rank
    percentile_cont percentile_disc pg_backend_pid pg_get_expr pg_get_constraintdef pg_get_indexdef pg_get_userbyid
    pg_is_in_recovery pg_table_is_visible pg_typeof phraseto_tsquery plainto_tsquery position power quote_ident
    quote_literal random rank regexp_match regexp_matches regexp_replace regexp_split_to_array regexp_split_to_table
    repeat replace reverse right round row_number row_to_json rpad rtrim session_user setseed sha256 sign
    similarity split_part sqrt starts_with stddev string_agg string_to_array strpos substr substring sum to_char
    to_date to_json to_jsonb to_number to_regclass to_timestamp to_tsquery to_tsvector translate trim trunc ts_headline
    ts_rank unnest upper var_pop variance version websearch_to_tsquery width_bucket""".split()
)


def kind(text: str) -> Kind:
    """Return what a statement, or several separated by semicolons, may do."""
    return remembered(text) if len(text) <= TEXT_MAX else _kind(text)


def _kind(text: str) -> Kind:
    lower = text.lower()
    word = _word(lower)
    if word in _WRITES and ";" not in lower:
        return Kind.WRITE
    statements = [statement for _, statement in _split(_HIDDEN.sub(_blank, lower))]
    if word == "do" and len(statements) == 1:
        return Kind.OPAQUE if _COMMITTING.search(lower, lower.index("do") + 2) else Kind.WRITE
    if len(statements) <= 1:
        return _single(statements[0]) if statements else Kind.READ
    kinds = {_single(statement) for statement in statements}
    if kinds & {Kind.BEGIN, Kind.COMMIT, Kind.PREPARE, Kind.ROLLBACK}:
        return Kind.SCRIPT_COMMIT
    # In one message several statements share one transaction: what refuses a block fails there anyway.
    return Kind.READ if kinds == {Kind.READ} else Kind.SCRIPT


remembered = lru_cache(maxsize=2048)(_kind)
"""`kind` for a text of at most `TEXT_MAX` characters."""


def _blank(match: re.Match[str]) -> str:
    return ("q" if match["name"] else " ") * len(match[0])


def _split(bare: str) -> list[tuple[int, str]]:
    """Return each statement with its place. A semicolon in parentheses, or in the body of a function, ends none."""
    if ";" not in bare:
        return [(len(bare) - len(bare.lstrip()), bare)] if bare.strip() else []
    found: list[tuple[int, str]] = []
    start = parentheses = bodies = 0
    for match in _STRUCTURE.finditer(bare + ";"):
        sign = match[0]
        if sign == ";":
            if (parentheses <= 0 and bodies <= 0) or match.start() == len(bare):
                statement = bare[start : match.start()]
                if statement.strip():
                    found.append((match.start() - len(statement.lstrip()), statement))
                start = match.end()
        elif sign in "()":
            parentheses += 1 if sign == "(" else -1
        elif sign == "end":
            bodies -= bodies > 0
        else:
            bodies += bodies > 0 or sign != "case"
    return found


def _word(lower: str) -> str:
    match = _FIRST_WORD.match(lower)
    return match[1] if match else ""


def _single(bare: str) -> Kind:
    """Return the kind of one statement in lower case, without literals and comments."""
    word = _word(bare)
    if word in _WRITES:
        return Kind.WRITE
    if word in _QUERIES:
        return Kind.WRITE if _may_write(bare) else Kind.READ
    if word == "copy":
        return Kind.COPY if re.search(r"\bfrom\b", bare) or _may_write(bare) else Kind.READ
    if word == "declare" and _HOLD.search(bare):
        return Kind.HELD if _may_write(bare) else Kind.READ
    if word in _DEFINITIONS:
        return Kind.READ if _NO_BLOCK.search(bare) else Kind.WRITE
    return _transaction_control(bare.split()) or (Kind.READ if word in _HARMLESS else Kind.OPAQUE)


def _transaction_control(words: list[str]) -> Kind | None:
    match words:
        case ["begin" | "start", *_]:
            return Kind.BEGIN
        case ["commit" | "rollback", "prepared", *_]:
            return Kind.READ
        case ["commit" | "end", *_]:
            return Kind.COMMIT
        case ["prepare", "transaction", *_]:
            return Kind.PREPARE
        case ["prepare", *_]:
            return Kind.READ
        case ["rollback", *rest] if "to" in rest:
            return Kind.READ
        case ["rollback" | "abort", *_]:
            return Kind.ROLLBACK
        case _:
            return None


def _may_write(bare: str) -> bool:
    if _WRITING.search(_LOCKING.sub(" ", bare)):
        return True
    return any(name.removeprefix("pg_catalog.") not in _KNOWN_CALLS for name in _CALLED.findall(bare))


def chains(text: str) -> bool:
    """Return whether the end of a transaction begins the next one: COMMIT AND CHAIN, ROLLBACK AND CHAIN."""
    return bool(_CHAIN.search(_HIDDEN.sub(_blank, text.lower())))


HELD_WRITES = "a cursor WITH HOLD over what may write, which runs when its transaction commits"
"""Why what a statement of `Kind.HELD` writes goes untagged."""


def holds(text: str) -> bool:
    """Return whether one of the statements of a text is of `Kind.HELD`."""
    lower = text.lower()
    return "hold" in lower and any(
        _single(statement) is Kind.HELD for _, statement in _split(_HIDDEN.sub(_blank, lower))
    )


class Part(NamedTuple):
    """A statement among several: its kind, where it starts in the text, and what it does to a block around it."""

    kind: Kind
    start: int
    chains: bool
    to_savepoint: bool


def parts(text: str) -> list[Part] | None:
    """Return the statements of a text, or None where it cannot be told for certain where each of them starts."""
    lower = text.lower()
    if len(lower) != len(text):
        return None
    if any("/*" in match["comment"][2:] for match in _HIDDEN.finditer(lower) if match["comment"]):
        return None  # comments nest, and a pattern cannot
    bare = _HIDDEN.sub(_blank, lower)
    if _UNCLOSED.search(bare):
        return None
    return [_part(start, statement) for start, statement in _split(bare)]


def _part(start: int, bare: str) -> Part:
    words = bare.split()
    return Part(_single(bare), start, bool(_CHAIN.search(bare)), words[0] == "rollback" and "to" in words)
