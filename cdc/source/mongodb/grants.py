"""What a user of MongoDB must be allowed, no more, and the commands that allow what is missing.

The worker's: to read the oplog, what documents were before a change, which replica set it is, and the mapped collections. The app's: to
write the stamps that carry its tags.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from ....schemas.errors import Refused
from ....transforms.table_name import TableName, quoted
from ...tail.mongodb_address import UNAUTHORIZED
from ...tail.mongodb_catalog import OPLOG, PRE_IMAGES, Catalog
from ...tail.mongodb_connection import ERRORS, code
from ...tail.oplog.stamps import STAMPS
from ..step import Step
from .shell import shell

WORKER_ROLE, APP_ROLE = "commitlogWorker", "commitlogApp"
"""The roles that users get."""

_ADMIN = "admin"
_NO_SUCH_NAME = 73
"""No database can have this name."""
_WRITES = frozenset(("anyAction", "insert", "update", "remove", "dropDatabase", "createUser", "grantRole"))

_Privilege = dict[str, Any]
"""As the server has it: `{"resource": {"db": …, "collection": …}, "actions": […]}`."""


@dataclass(frozen=True, slots=True)
class Need:
    """Something that a user must be allowed.

    Args:
        what: What it may not do without, as the end of a sentence.
        database: Where.
        collection: Of which collection, empty for the database itself.
        actions: What.
    """

    what: str
    database: str
    collection: str
    actions: tuple[str, ...]

    @property
    def privilege(self) -> _Privilege:
        """As the server has it."""
        return {"resource": {"db": self.database, "collection": self.collection}, "actions": list(self.actions)}


def worker_needs(database: str, collections: Iterable[TableName]) -> list[Need]:
    """What the worker must be allowed.

    Args:
        database: The one that is read.
        collections: The mapped ones, whether they exist or not.
    """
    find = ("find",)
    return [
        Need("may not read the oplog (local.oplog.rs)", *OPLOG, find),
        Need("may not read what documents were before a change (config.system.preimages)", *PRE_IMAGES, find),
        Need("may not read which replica set it is (local.system.replset)", "local", "system.replset", find),
        Need("may not read the stamps that carry tags (commitlog.stamps)", *STAMPS, find),
        Need(f"may not list the collections of {database}", database, "", ("listCollections",)),
        *(Need(f"may not read collection {quoted(name)}", *name, find) for name in sorted(set(collections))),
    ]


APP_NEEDS = [Need("may not write the stamps that carry tags", *STAMPS, ("find", "insert", "update"))]
"""What an app must be allowed beside what it does anyway."""


def lacking(needs: Iterable[Need], held: Iterable[_Privilege]) -> Iterator[Need]:
    """Those needs that privileges do not meet."""
    held = list(held)
    for need in needs:
        allowed: set[str] = set()
        for privilege in held:
            if _covers(privilege["resource"], need.database, need.collection):
                allowed.update(privilege["actions"])
        if not (allowed >= set(need.actions) or "anyAction" in allowed):
            yield need


def may_write(held: Iterable[_Privilege]) -> bool:
    """Whether privileges go beyond reading."""
    return any(not _WRITES.isdisjoint(privilege["actions"]) for privilege in held)


def _covers(resource: dict[str, Any], database: str, collection: str) -> bool:
    """Whether a resource holds a collection, or a database, as the server decides it (its buildResourceSearchList)."""
    if resource.get("anyResource"):
        return True
    if "db" not in resource or "collection" not in resource:
        return False
    databases, name = resource["db"], resource["collection"]
    if name:
        return bool(collection) and name == collection and databases in ("", database)
    if collection.startswith("system."):
        return False
    return databases == database or (databases == "" and database not in ("local", "config"))


@dataclass(frozen=True, slots=True)
class _Account:
    """A user or a role that there is."""

    name: str
    database: str
    is_user: bool
    roles: list[dict[str, str]]
    privileges: list[_Privilege]


def grant_steps(catalog: Catalog, role: str, needs: list[Need], *, by: str) -> list[Step]:
    """What a user or a role lacks.

    Args:
        catalog: The source, of a user who may see and grant roles.
        role: `NAME` or `NAME@DATABASE`, of a user or of a role; a role is made where there is neither.
        needs: What it must be allowed.
        by: The role that a user gets it by.

    Raises:
        Refused: The catalogs' user may not see others, or the role is one that cannot have them.
        Unreachable: The source does not answer.
    """
    name, at, database = role.rpartition("@")
    if not at:
        name, database = role, ""
    account = _find(
        catalog, name, [database] if database else list(dict.fromkeys((_ADMIN, catalog.address.auth_source)))
    )
    if account is not None and not list(lacking(needs, account.privileges)):
        return []
    if account is not None and account.is_user:
        if {"role": name, "db": _ADMIN} in account.roles:
            by = name  # the role that was made before its user
        granted = Step(
            f"user {account.name} of {account.database}: the role {by}",
            shell(account.database, {"grantRolesToUser": account.name, "roles": [{"role": by, "db": _ADMIN}]}),
        )
        has = {"role": by, "db": _ADMIN} in account.roles
        return [*_of_role(catalog, by, needs), *([] if has else [granted])]
    if account is None and database not in ("", _ADMIN):
        raise Refused(
            f"the database {database} has neither a user nor a role {name}",
            hint=f"--role NAME for one of {_ADMIN}, --role {role}@{_ADMIN} where {role} is its name, or make it first",
        )
    if account is not None and account.database != _ADMIN:
        raise Refused(
            f"role {name} is of the database {account.database}, and only one of {_ADMIN} may be allowed what is in others",
            hint=f"commitlog setup with a role of {_ADMIN}, or with a user",
        )
    return _of_role(catalog, name, needs)


def _of_role(catalog: Catalog, name: str, needs: list[Need]) -> list[Step]:
    """What makes a role of admin one that meets needs."""
    found = _role(catalog, name, _ADMIN)
    if found is None:
        command = {"createRole": name, "privileges": [need.privilege for need in needs], "roles": list[str]()}
        text = f"role {name}: may do what is needed, and no more; a user that is made with roles: [{name!r}] has it"
        return [Step(text, shell(_ADMIN, command))]
    return [
        Step(
            f"role {name}: {need.what.replace('may not', 'may')}",
            shell(_ADMIN, {"grantPrivilegesToRole": name, "privileges": [need.privilege]}),
        )
        for need in lacking(needs, found.privileges)
    ]


def _find(catalog: Catalog, name: str, databases: list[str]) -> _Account | None:
    """A user of one of these databases, or else a role."""
    for database in databases:
        answer = _ask(catalog, {"usersInfo": {"user": name, "db": database}, "showPrivileges": True})
        for found in answer["users"]:
            return _Account(name, database, True, found["roles"], found["inheritedPrivileges"])
    for database in databases:
        role = _role(catalog, name, database)
        if role is not None:
            return role
    return None


def _role(catalog: Catalog, name: str, database: str) -> _Account | None:
    answer = _ask(catalog, {"rolesInfo": {"role": name, "db": database}, "showPrivileges": True})
    for found in answer["roles"]:
        return _Account(name, database, False, found["roles"], found["inheritedPrivileges"])
    return None


def _ask(catalog: Catalog, command: dict[str, Any]) -> dict[str, Any]:
    doing = "what others may do cannot be seen"
    try:
        return dict(catalog.client.admin.command(command))
    except ERRORS as exc:
        if code(exc) == UNAUTHORIZED:
            raise Refused(
                f"{doing}: user {catalog.address.user} may not",
                hint="run it as a user of the role userAdminAnyDatabase",
            ) from exc
        if code(exc) == _NO_SUCH_NAME:
            return {"users": [], "roles": []}
        raise catalog.failed(exc, doing) from exc
