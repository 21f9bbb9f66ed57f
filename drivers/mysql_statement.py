"""What an SQL statement of MySQL or MariaDB may do to a transaction, told from its text without asking the server.

Whether a transaction wrote is the server's to say, so little has to be known: what ends a transaction, and what may
write where every statement is a transaction of its own. It is no parser, and in doubt answers what costs time, never
what loses a tag.
"""

import re
from enum import Enum
from functools import lru_cache


class Kind(Enum):
    """What a driver has to know of a statement before it sends it."""

    READ = "changes no rows, and ends no transaction"
    LOCK = "changes no rows, and locks those that it reads as if it did"
    WRITE = "may change rows, in one transaction"
    BEGIN = "starts a transaction, and commits the one before"
    COMMIT = "commits"
    ROLLBACK = "rolls back the whole transaction"
    XA_END = "ends the work of an XA transaction"
    CALL = "runs statements that are not in its text, each of which commits by itself in autocommit"
    FILL = "defines a table and fills it, and commits by itself"
    ENDS = "commits the transaction in hand, or may"
    UNLOCK = "commits the transaction in hand, where LOCK TABLES is in force"
    SCRIPT = "several statements"


# Looking up a member of an Enum is slow in Python 3.11, and this is done for every statement.
READ = Kind.READ
LOCK = Kind.LOCK
WRITE = Kind.WRITE
BEGIN = Kind.BEGIN
COMMIT = Kind.COMMIT
ROLLBACK = Kind.ROLLBACK
XA_END = Kind.XA_END
CALL = Kind.CALL
FILL = Kind.FILL
ENDS = Kind.ENDS
UNLOCK = Kind.UNLOCK
SCRIPT = Kind.SCRIPT
STAYS = (READ, WRITE, LOCK)
"""What neither begins a transaction in so many words nor ends one."""

_NAME_NO_TABLE = (BEGIN, COMMIT, ROLLBACK, XA_END, UNLOCK)

ASKS_WARNINGS = re.compile(rb"\s*show\s+warnings\s*;?\s*", re.IGNORECASE)
"""The statement that asks for the warnings of the one before, and no more than them."""

SET = re.compile(rb"\s*set\s", re.IGNORECASE)
_USES = re.compile(rb"\b(?:from|tables?|show|desc\w*|explain|help)\b", re.IGNORECASE)

_SKIPPED = r"(?:\s|/\*M?!\d*|/\*(?!M?!).*?\*/|#[^\n]*(?:\n|\Z)|--(?=\s|\Z)[^\n]*(?:\n|\Z)|\()*"
# Comments that the server runs, /*! … */, count as their content.
_WORDS = re.compile(_SKIPPED + r"([a-z_]+)(?:\b" + _SKIPPED + r"([a-z_]+))?", re.DOTALL | re.IGNORECASE)
_FIRST: dict[bytes, Kind] = {
    case: of
    for word, of in ((b"select ", READ), (b"insert ", WRITE), (b"update ", WRITE), (b"delete ", WRITE))
    for case in (word, word.upper())
}
SEMICOLON, _PARENTHESIS = b";("
"""Numbers, not bytes: those are found in a text some ten times sooner, and this is done for each statement."""
_HEAD = 512
_REMEMBERED_MAX = 512
_HIDDEN = re.compile(
    r"""(?P<comment>/\*(?!M?!).*?(?:\*/|\Z)|\#[^\n]*|--(?=\s|\Z)[^\n]*)
    |'(?:[^'\\]++|\\.|'')*+'|"(?:[^"\\]++|\\.|"")*+"|`[^`]*+`""",
    re.DOTALL | re.VERBOSE,
)
_CALLED = re.compile(r"([\w$.]+)\s*\(|`\s*\(")
_WRITING = re.compile(r"\b(?:insert|update|delete|replace)\b")
_LOCKING = re.compile(r"\bfor\s+update\b|\bfor\s+share\b|\block\s+in\s+share\s+mode\b")
_NO_STATEMENT = re.compile(r"\bfor\s+update\b|\breplace\s*\(|\binsert\s*\(")
_ENDING_SET = re.compile(r"\b(?:autocommit|password)\b")
_FILLING = re.compile(r"\bselect\b|\bvalues\b|\btable\s+\S+\s*;?\s*$")

_WRITES = frozenset("insert update delete replace".split())
_QUERIES = frozenset("select with do set values table explain describe desc".split())
_HARMLESS = frozenset(
    """binlog deallocate get handler help kill prepare release resignal savepoint show shutdown signal use""".split()
)
_RUNNING = frozenset("call execute if case loop repeat while for".split())
_CONTROL = {
    ("begin", ""): BEGIN,
    ("start", "transaction"): BEGIN,
    ("commit", ""): COMMIT,
    ("xa", "start"): BEGIN,
    ("xa", "begin"): BEGIN,
    ("xa", "end"): XA_END,
    ("xa", ""): READ,
    ("load", "data"): WRITE,
    ("load", "xml"): WRITE,
    ("unlock", "table"): UNLOCK,
    ("unlock", "tables"): UNLOCK,
}
_KNOWN_CALLS = frozenset(
    # Words that stand before a parenthesis and are no functions, then types, then functions that only compute or lock.
    """all and any as between by case cross distinct div else except exists force from group having if ignore in index
    inner intersect interval into is join key left like limit match not offset on or order over partition regexp right
    rlike rollup row select separator set sounds straight_join then union use using values when where window with xor
    recursive lateral returning natural full table columns path nested default
    binary bit char character datetime decimal float signed unsigned time timestamp varchar varbinary year
    abs acos adddate addtime aes_decrypt aes_encrypt ascii asin atan atan2 avg benchmark bin bin_to_uuid bit_and
    bit_count bit_length bit_or bit_xor cast ceil ceiling char_length character_length charset coalesce coercibility
    collation compress concat concat_ws connection_id conv convert convert_tz cos cot count crc32 cume_dist curdate
    current_date current_role current_time current_timestamp current_user curtime database date date_add date_format
    date_sub datediff day dayname dayofmonth dayofweek dayofyear degrees dense_rank elt exp export_set extract
    extractvalue field find_in_set first_value floor format format_bytes found_rows from_base64 from_days
    from_unixtime get_format get_lock greatest group_concat grouping hex hour ifnull inet6_aton inet6_ntoa inet_aton
    inet_ntoa insert instr is_free_lock is_ipv4 is_ipv6 is_used_lock is_uuid isnull json_array json_array_append
    json_array_insert json_arrayagg json_compact json_contains json_contains_path json_depth json_detailed json_exists
    json_extract json_insert json_keys json_length json_loose json_merge json_merge_patch json_merge_preserve
    json_object json_objectagg json_overlaps json_pretty json_query json_quote json_remove json_replace json_search
    json_set json_storage_size json_table json_type json_unquote json_valid json_value lag last_day last_insert_id
    last_value lcase lead least length ln load_file localtime localtimestamp locate log log10 log2 lower lpad ltrim
    make_set makedate maketime max md5 median microsecond mid min minute mod month monthname name_const now nth_value
    ntile nullif oct octet_length ord percent_rank percentile_cont percentile_disc period_add period_diff pi
    position pow power quarter quote radians rand random_bytes rank regexp_instr regexp_like regexp_replace
    regexp_substr release_all_locks release_lock repeat replace reverse round row_count row_number rpad rtrim schema
    sec_to_time second session_user sha sha1 sha2 sign sin sleep soundex space sqrt std stddev stddev_pop stddev_samp
    str_to_date strcmp subdate substr substring substring_index subtime sum sysdate system_user tan time_format
    time_to_sec timediff timestampadd timestampdiff to_base64 to_char to_days to_seconds trim truncate ucase
    uncompress uncompressed_length unhex unix_timestamp updatexml upper user utc_date utc_time utc_timestamp uuid
    uuid_short uuid_to_bin validate_password_strength var_pop var_samp variance version week weekday weekofyear
    weight_string year yearweek""".split()
)


def kind(text: str | bytes | bytearray, *, several: bool = False) -> Kind:
    """Return what a text may do.

    Args:
        text: The text as it is sent; bytes in any encoding that has ASCII in it.
        several: Whether the connection lets a text hold several statements.
    """
    if isinstance(text, bytes) and (plain := plain_kind(text)) is not None:
        return plain
    if len(text) <= _REMEMBERED_MAX and not isinstance(text, bytearray):
        return _remembered(text, several)
    return _kind(text, several)


def plain_kind(text: bytes) -> Kind | None:
    """Return what `kind` would, for the commonest and plainest statements, in a fraction of its time; None for all others."""
    of = _FIRST.get(text[:7])
    if of is None or SEMICOLON in text:
        return None
    if of is READ:
        lower = text.lower()
        if _PARENTHESIS in lower or lower.find(b"for") >= 0 or lower.find(b"lock") >= 0:
            return None
    return of


def uses_no_table(of: Kind, text: bytes) -> bool:
    """Return whether a statement leaves MariaDB's list of warnings as it was: one that names no table. MySQL's list is of the last one."""
    if of is READ:
        return not _USES.search(text)
    return of in _NAME_NO_TABLE or SET.match(text) is not None


def _kind(text: str | bytes | bytearray, several: bool) -> Kind:
    if several and (SEMICOLON in text if isinstance(text, bytes | bytearray) else ";" in text):
        statements = split(_str(text))
        if statements is None or len(statements) > 1:
            return SCRIPT
    # A long text carries its data within, behind what tells its kind.
    match = _WORDS.match(_str(text[:_HEAD])) or _WORDS.match(_str(text))
    if match is None:
        return READ
    first, second = match[1].lower(), (match[2] or "").lower()
    if first in _WRITES:
        return WRITE
    if first in _QUERIES:
        return _query(first, _str(text))
    return _other(first, second, text)


_remembered = lru_cache(maxsize=2048)(_kind)


def _str(text: str | bytes | bytearray) -> str:
    return text if isinstance(text, str) else text.decode("latin-1")


def _query(first: str, text: str) -> Kind:
    bare = _HIDDEN.sub(_blank, text).lower()
    if first == "set" and _ENDING_SET.search(bare):
        return ENDS
    if first == "with" and _WRITING.search(_NO_STATEMENT.sub(" ", bare)):
        return WRITE
    if any(name not in _KNOWN_CALLS for name in _CALLED.findall(bare)):
        return WRITE  # a function may write, in the transaction of the query that calls it
    return LOCK if _LOCKING.search(bare) else READ


def _blank(match: re.Match[str]) -> str:
    if match["comment"]:
        return " "
    return "`" if match[0][0] == "`" else "''"


def _other(first: str, second: str, text: str | bytes | bytearray) -> Kind:
    if first in _HARMLESS or (first in ("create", "drop") and second == "temporary"):
        return READ
    if first in _RUNNING or (first == "begin" and second == "not"):
        return CALL
    if first == "rollback":
        to_savepoint = re.search(r"\bto\b", _HIDDEN.sub(_blank, _str(text)), re.IGNORECASE)
        return READ if to_savepoint else ROLLBACK
    if first == "create" and second in ("table", "or"):
        return _definition(text)
    if first == "analyze":  # MariaDB runs the statement that it analyzes
        return ENDS if second in ("table", "local", "no_write_to_binlog") else WRITE
    return _CONTROL.get((first, second)) or _CONTROL.get((first, "")) or ENDS


def _definition(text: str | bytes | bytearray) -> Kind:
    bare = _HIDDEN.sub(_blank, _str(text)).lower()
    is_table = re.match(_SKIPPED + r"create\s+(?:or\s+replace\s+)?table\b", bare)
    return FILL if is_table and _FILLING.search(bare) else ENDS


_BODY = re.compile(
    r"\s*(?:create\b.*?\b(?:procedure|function|trigger|event|package)\b|begin\s+not\s+atomic\b|declare\b"
    r"|(?:if|case|loop|repeat|while|for)\b|alter\s+event\b)",
    re.IGNORECASE | re.DOTALL,
)
_SEPARATOR = re.compile(_HIDDEN.pattern + r"|(?P<semicolon>;)|(?P<odd>['\"`]|/\*)", re.DOTALL | re.VERBOSE)


def split(text: str) -> list[str] | None:
    """Return the statements of a text, or None where it cannot be told for certain where each of them ends."""
    found: list[str] = []
    start = 0
    for match in _SEPARATOR.finditer(text):
        if match["odd"]:
            return None  # a comment that the server runs, or a quote that does not end
        if match["semicolon"]:
            found.append(text[start : match.start()])
            start = match.end()
    found.append(text[start:])
    statements = [statement for statement in found if _HIDDEN.sub(_blank, statement).strip()]
    return None if any(_BODY.match(_HIDDEN.sub(_blank, statement)) for statement in statements) else statements
