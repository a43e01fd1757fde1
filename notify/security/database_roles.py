"""PostgreSQL roles: one for each kind of process, with what its statements need and nothing else.

The owner of the tables makes them with `manage.py database roles`, after each `migrate`. A role's name is
NOTIFY_NAMESPACE and its process, such as `notify_worker`, since roles belong to the whole server.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, LiteralString

from django.conf import settings
from django.db import DatabaseError, connection, transaction
from psycopg import sql

WEB: Final = "web"
BRIDGE: Final = "bridge"
WORKER: Final = "worker"
WATCH: Final = "watch"
#: Of Prometheus. It logs in, and reads no table.
EXPORTER: Final = "exporter"
PROCESSES: Final = (WEB, BRIDGE, WORKER, WATCH, EXPORTER)

READ: Final = "SELECT"
ADD: Final = "SELECT, INSERT"
WRITE: Final = "SELECT, INSERT, UPDATE"
ALL: Final = "SELECT, INSERT, UPDATE, DELETE"

#: By table: what each role may do. Web has the admin in it, and the commands that only look. A new table
#: must be added here, with no role if need be.
TABLES: Final[Mapping[str, Mapping[str, LiteralString]]] = {
    # Apps and who may act for them.
    "app": {WEB: WRITE, WATCH: "SELECT (id, name)"},
    "app_key": {WEB: "SELECT, INSERT, UPDATE (revoked_at)"},
    "identity_key": {WEB: "SELECT, INSERT, UPDATE (revoked_at)"},
    # The protocol.
    "topic": {WEB: READ, BRIDGE: READ, WATCH: READ},
    "stream": {
        WEB: READ,
        BRIDGE: "SELECT, UPDATE",
        WORKER: "SELECT, UPDATE (halted)",
        WATCH: READ,
    },
    "lane": {
        WEB: READ,
        BRIDGE: "SELECT, INSERT, DELETE",
        WORKER: "SELECT, UPDATE (last, isolate, tries)",
    },
    "plan": {WEB: READ, BRIDGE: "SELECT, INSERT, DELETE"},
    "plan_log": {WEB: READ, BRIDGE: "SELECT, INSERT, DELETE", WATCH: READ},
    "link": {WEB: READ, BRIDGE: ALL, WATCH: READ},
    "parent": {WEB: READ, BRIDGE: WRITE, WATCH: READ},
    "link_count": {WEB: READ, BRIDGE: WRITE, WATCH: READ},
    "seen": {BRIDGE: ADD},
    "record": {WEB: READ, WORKER: WRITE},
    # What was not applied. Web locks the letters that it replays or deletes.
    "dead_letter": {
        WEB: "SELECT, UPDATE (id), DELETE",
        BRIDGE: "SELECT, INSERT, DELETE",
        WORKER: ADD,
        WATCH: READ,
    },
    "skipped": {WEB: READ, BRIDGE: ALL, WATCH: READ},
    "skip_count": {WEB: READ, BRIDGE: WRITE},
    "replay": {WEB: ADD, WATCH: "SELECT, UPDATE"},
    # Policy: versions are added, never changed.
    "policy_head": {WEB: WRITE, BRIDGE: READ},
    "skip_rule": {WEB: ADD, BRIDGE: READ, WATCH: READ},
    "link_limit": {WEB: ADD, BRIDGE: READ, WATCH: READ},
    # Views of the versions that are in force now.
    "skip_rule_in_force": {WEB: READ, WATCH: READ},
    "link_limit_in_force": {WEB: READ, WATCH: READ},
    # Samples.
    "hot": {WEB: READ, BRIDGE: ALL, WATCH: READ},
    "app_sample": {WEB: READ, BRIDGE: ALL, WATCH: READ},
    "refused_sample": {WEB: WRITE, BRIDGE: "SELECT, DELETE", WATCH: READ},
    "unavailable_sample": {WEB: WRITE, BRIDGE: "SELECT, DELETE", WATCH: READ},
    "left_out_sample": {WEB: WRITE, BRIDGE: "SELECT, DELETE", WATCH: READ},
    "stream_sample": {WEB: READ, BRIDGE: ALL, WATCH: READ},
    "lane_sample": {WEB: READ, BRIDGE: ALL, WATCH: READ},
    "bridge_start": {WEB: READ, BRIDGE: "SELECT, INSERT, DELETE", WATCH: READ},
    "queue_sample": {WEB: READ, WATCH: ALL},
    "worker_sample": {WEB: READ, WATCH: ALL},
    "watcher": {WEB: READ, WATCH: WRITE},
    "alert": {WEB: READ, WATCH: ALL},
    # The admin: people, sessions, failed logins, the audit trail.
    "auth_user": {WEB: WRITE},
    "auth_user_groups": {WEB: "SELECT, INSERT, DELETE"},
    "auth_user_user_permissions": {WEB: "SELECT, INSERT, DELETE"},
    "auth_group": {WEB: ALL},
    "auth_group_permissions": {WEB: "SELECT, INSERT, DELETE"},
    "auth_permission": {WEB: READ},
    "django_admin_log": {WEB: ADD},
    "django_content_type": {WEB: READ},
    # `createsuperuser` looks whether all migrations are applied.
    "django_migrations": {WEB: READ},
    "django_session": {WEB: ALL},
    "axes_accessattempt": {WEB: ALL},
    "axes_accessattemptexpiration": {WEB: ALL},
    "axes_accessfailurelog": {},
    "axes_accesslog": {WEB: WRITE},
}

#: Functions that run with the owner's rights, and who may call them.
FUNCTIONS: Final[Mapping[LiteralString, Sequence[str]]] = {"seen_tidy(int)": (BRIDGE,)}

#: Bytes of a name in PostgreSQL; a longer one would be cut.
_NAME_BYTES: Final = 63

_OUR_TABLES: Final = """
    SELECT relname FROM pg_class
    WHERE relnamespace = current_schema()::regnamespace AND relkind IN ('r', 'p', 'v', 'm')
        AND NOT relispartition AND pg_has_role(relowner, 'USAGE')
    ORDER BY relname
"""


class RolesRefused(Exception):
    """The roles cannot be made so: the text says why, and what to do."""


@dataclass(frozen=True, slots=True)
class Granted:
    """The roles, those of them that were made just now, and tables that none of them may use.

    `undecided`: tables of the same owner and schema that TABLES does not name.
    """

    roles: tuple[str, ...]
    made: tuple[str, ...]
    undecided: tuple[str, ...]


def role_of(process: str) -> str:
    """The name of the process's role. Raises RolesRefused where PostgreSQL would cut it."""
    name = f"{settings.NOTIFY_NAMESPACE}_{process}"
    if len(name.encode()) > _NAME_BYTES:
        raise RolesRefused(f"the name of the role {name} is too long: shorten NOTIFY_NAMESPACE")
    return name


def grant(passwords: Mapping[str, str]) -> Granted:
    """Make the roles that are missing, give each what TABLES and FUNCTIONS say, and take all else away.

    `passwords`, by process, lets its role log in; what other roles may in this respect stays. All of it
    happens, or nothing: processes that run meanwhile notice nothing. Raises RolesRefused, and
    django.db.DatabaseError where this user does not own the tables.
    """
    names = {process: role_of(process) for process in PROCESSES}
    with transaction.atomic():
        made = _make(names.values())
        tables = [name for (name,) in _rows(_OUR_TABLES)]
        if not tables:
            raise RolesRefused(
                "the user of DATABASE_URL owns no tables: run this after `manage.py migrate`, as its user"
            )
        _take_all(names.values(), tables)
        _give(names)
        _check_schema(names[WEB])
        for process, password in passwords.items():
            _let_in(names[process], password)
    undecided = tuple(name for name in tables if name not in TABLES)
    return Granted(tuple(names.values()), made, undecided)


def _make(names: Iterable[str]) -> tuple[str, ...]:
    there = {name for (name,) in _rows("SELECT rolname FROM pg_roles")}
    missing = tuple(name for name in names if name not in there)
    statements = [
        sql.SQL("CREATE ROLE {} NOLOGIN").format(sql.Identifier(name)) for name in missing
    ]
    try:
        with transaction.atomic():
            for statement in statements:
                _run(statement)
    except DatabaseError as error:
        wanted = "; ".join(_text(statement) for statement in statements)
        raise RolesRefused(
            f"{error}".strip()
            + f"\nAs a role with CREATEROLE, run: {wanted}; then run this command again."
        ) from error
    return missing


def _take_all(names: Iterable[str], tables: Iterable[str]) -> None:
    roles = sql.SQL(", ").join(map(sql.Identifier, names))
    all_tables = sql.SQL(", ").join(map(sql.Identifier, tables))
    _run(sql.SQL("REVOKE ALL ON {} FROM {}").format(all_tables, roles))
    for function in FUNCTIONS:
        _run(sql.SQL("REVOKE ALL ON FUNCTION {} FROM PUBLIC, {}").format(sql.SQL(function), roles))
    _run(sql.SQL("REVOKE CREATE ON SCHEMA {} FROM PUBLIC, {}").format(_schema(), roles))


def _give(names: Mapping[str, str]) -> None:
    roles = sql.SQL(", ").join(map(sql.Identifier, names.values()))
    ((database,),) = _rows("SELECT current_database()")
    _run(sql.SQL("GRANT CONNECT ON DATABASE {} TO {}").format(sql.Identifier(database), roles))
    _run(sql.SQL("GRANT USAGE ON SCHEMA {} TO {}").format(_schema(), roles))
    for table, privileges in TABLES.items():
        for process, words in privileges.items():
            _run(
                sql.SQL("GRANT {} ON {} TO {}").format(
                    sql.SQL(words), sql.Identifier(table), sql.Identifier(names[process])
                )
            )
    for function, processes in FUNCTIONS.items():
        for process in processes:
            _run(
                sql.SQL("GRANT EXECUTE ON FUNCTION {} TO {}").format(
                    sql.SQL(function), sql.Identifier(names[process])
                )
            )


def _schema() -> sql.Identifier:
    ((schema,),) = _rows("SELECT current_schema()")
    return sql.Identifier(schema)


def _check_schema(name: str) -> None:
    """PostgreSQL only warns who may not take a right away: of `public`, its owner alone may."""
    statement = "SELECT current_schema(), has_schema_privilege(%s, current_schema(), 'CREATE')"
    ((schema, may_create),) = _rows(statement, name)
    if may_create:
        raise RolesRefused(
            f"everybody may create tables in the schema {schema}, which could hide ours. As its owner, run: "
            f"REVOKE CREATE ON SCHEMA {schema} FROM PUBLIC; then run this command again"
        )


def _let_in(name: str, password: str) -> None:
    """The server gets, and logs, a SCRAM verifier: never the password."""
    connection.ensure_connection()
    pgconn = connection.connection.pgconn
    verifier = pgconn.encrypt_password(password.encode(), name.encode(), b"scram-sha-256").decode()
    _run(
        sql.SQL("ALTER ROLE {} LOGIN PASSWORD {}").format(
            sql.Identifier(name), sql.Literal(verifier)
        )
    )


def _rows(statement: LiteralString, *parameters: Any) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        return list(cursor.fetchall())


def _run(statement: sql.Composed) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement)


def _text(statement: sql.Composed) -> str:
    connection.ensure_connection()
    return statement.as_string(connection.connection)
