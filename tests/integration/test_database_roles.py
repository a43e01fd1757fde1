"""PostgreSQL roles: every table is decided, each role has what it needs and is refused the rest."""

import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, LiteralString

import pytest
from django.core.management import CommandError, call_command
from django.db import connection, transaction
from django.db.utils import ProgrammingError
from psycopg import sql
from pytest_django import Settings

from notify.models import Topic
from notify.security import database_roles
from notify.security.database_roles import (
    BRIDGE,
    FUNCTIONS,
    PROCESSES,
    TABLES,
    WATCH,
    WEB,
    WORKER,
    Granted,
)

pytestmark = pytest.mark.django_db


def rows(query: LiteralString, *parameters: Any) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(query, parameters)
        return list(cursor.fetchall()) if cursor.description else []


@pytest.fixture
def granted(settings: Settings) -> Granted:
    """The roles of a namespace that no other test has; they go with the test's transaction."""
    settings.NOTIFY_NAMESPACE = f"t{uuid.uuid4().hex[:10]}"
    return database_roles.grant({})


@contextmanager
def acting_as(process: str) -> Iterator[None]:
    """Statements have this role's rights, and what they do is undone."""
    with transaction.atomic():
        with connection.cursor() as cursor:
            role = sql.Identifier(database_roles.role_of(process))
            cursor.execute(sql.SQL("SET LOCAL ROLE {}").format(role))
        yield
        transaction.set_rollback(True)


def test_every_table_has_a_decision() -> None:
    """A migration that adds a table says in TABLES who may use it."""
    there = rows(
        "SELECT relname FROM pg_class WHERE relnamespace = current_schema()::regnamespace "
        "AND relkind IN ('r', 'p', 'v', 'm', 'f') AND NOT relispartition"
    )
    assert {name for (name,) in there} == TABLES.keys()


def test_functions_with_the_owners_rights_have_a_search_path_and_no_public_caller() -> None:
    definers = rows(
        "SELECT oid::regprocedure::text, proconfig, has_function_privilege('public', oid, 'EXECUTE') "
        "FROM pg_proc WHERE prosecdef AND pronamespace = current_schema()::regnamespace"
    )
    assert {name.replace("integer", "int") for name, _, _ in definers} == set(FUNCTIONS)
    for name, config, is_public in definers:
        assert config == ["search_path=public, pg_temp"], name
        assert not is_public, name


def given() -> set[tuple[str, str, str, str]]:
    """What the roles may do now: table, role, privilege, and the column where it is of one alone."""
    roles = [database_roles.role_of(process) for process in PROCESSES]
    return set(
        rows(
            "SELECT relname, grantee::regrole::text, privilege_type, '' "
            "FROM pg_class CROSS JOIN LATERAL aclexplode(relacl) "
            "WHERE grantee::regrole::text = ANY(%s) "
            "UNION ALL "
            "SELECT relname, grantee::regrole::text, privilege_type, attname "
            "FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid "
            "CROSS JOIN LATERAL aclexplode(attacl) "
            "WHERE grantee::regrole::text = ANY(%s)",
            roles,
            roles,
        )
    )


def said() -> set[tuple[str, str, str, str]]:
    """What TABLES says, in the same form."""
    return {
        (table, database_roles.role_of(process), privilege, column)
        for table, roles in TABLES.items()
        for process, privileges in roles.items()
        for privilege, columns in re.findall(r"(\w+)(?: \(([^)]*)\))?(?:, |$)", privileges)
        for column in columns.split(", ")
    }


def test_what_is_granted_is_what_is_said_however_often(granted: Granted) -> None:
    assert granted.made == granted.roles
    assert granted.undecided == ()
    assert given() == said()
    with connection.cursor() as cursor:
        role = sql.Identifier(database_roles.role_of(WORKER))
        for words in ("DELETE ON record", "SELECT ON app_key", "UPDATE (planned) ON stream"):
            cursor.execute(sql.SQL("GRANT {} TO {}").format(sql.SQL(words), role))
    assert given() != said()
    again = database_roles.grant({})
    assert again.made == ()
    assert again.roles == granted.roles
    assert given() == said()


def test_no_role_is_more_than_a_user(granted: Granted) -> None:
    found = rows(
        "SELECT rolcanlogin, rolsuper, rolcreaterole, rolcreatedb, rolbypassrls, "
        "has_schema_privilege(oid, current_schema(), 'CREATE') "
        "FROM pg_roles WHERE rolname = ANY(%s)",
        list(granted.roles),
    )
    assert found == [(False,) * 6] * len(PROCESSES)


@pytest.mark.parametrize(
    ("process", "statement"),
    [
        (WORKER, "SELECT digest FROM app_key"),
        (WORKER, "SELECT * FROM app"),
        (WORKER, "SELECT * FROM link"),
        (WORKER, "UPDATE stream SET planned = planned"),
        (WORKER, "INSERT INTO lane (stream, lane, last) VALUES (1, 1, 1)"),
        (WORKER, "DELETE FROM record"),
        (WORKER, "DELETE FROM dead_letter"),
        (WORKER, "SELECT seen_tidy(1)"),
        (WORKER, "SELECT * FROM auth_user"),
        (BRIDGE, "UPDATE auth_user SET is_superuser = true"),
        (BRIDGE, "SELECT * FROM django_session"),
        (BRIDGE, "SELECT digest FROM app_key"),
        (BRIDGE, "SELECT * FROM record"),
        (BRIDGE, "INSERT INTO skip_rule (version) VALUES (1)"),
        (BRIDGE, "SELECT * FROM seen_rest"),
        (BRIDGE, "DROP TABLE seen_rest"),
        (WATCH, "SELECT tags FROM record"),
        (WATCH, "UPDATE record SET tags = '{}'"),
        (WATCH, "SELECT digest FROM app_key"),
        (WATCH, "SELECT requires_key FROM app"),
        (WATCH, "UPDATE stream SET halted = NULL"),
        (WATCH, "INSERT INTO link_limit (version) VALUES (1)"),
        (WEB, "UPDATE stream SET planned = planned"),
        (WEB, "UPDATE lane SET last = last"),
        (WEB, "INSERT INTO plan (stream) VALUES (1)"),
        (WEB, "UPDATE record SET tags = '{}'"),
        (WEB, "DELETE FROM skip_rule"),
        (WEB, "DELETE FROM app"),
        (WEB, "UPDATE app_key SET digest = ''"),
        (WEB, "UPDATE dead_letter SET message = ''"),
        (WEB, "UPDATE django_admin_log SET change_message = ''"),
        (WEB, "DELETE FROM django_admin_log"),
        (WEB, "SELECT seen_tidy(-100)"),
        (WEB, "CREATE TABLE mine (id int)"),
    ],
)
def test_what_a_role_is_refused(granted: Granted, process: str, statement: LiteralString) -> None:
    with acting_as(process), pytest.raises(ProgrammingError) as refused, transaction.atomic():
        rows(statement)
    assert getattr(refused.value.__cause__, "sqlstate", "") == "42501"


def test_the_bridge_tidies_what_it_remembers_and_owns_none_of_it(granted: Granted) -> None:
    with acting_as(BRIDGE):
        rows(
            "INSERT INTO seen (at, app, message) VALUES (now(), %s, %s)", uuid.uuid4(), uuid.uuid4()
        )
        rows("SELECT seen_tidy(1)")
        ((n,),) = rows("SELECT count(*) FROM pg_inherits WHERE inhparent = 'seen'::regclass")
        assert n >= 2


def test_a_table_of_the_callers_deceives_no_function_of_ours(granted: Granted) -> None:
    """With the caller's search_path, `seen_rest` would be this one, and its trigger run as the owner."""
    with acting_as(BRIDGE):
        rows("CREATE TEMPORARY TABLE seen_rest (at timestamptz)")
        rows("INSERT INTO seen_rest VALUES ('2000-01-01')")
        rows("SELECT seen_tidy(1)")
        assert rows("SELECT count(*) FROM pg_temp.seen_rest") == [(1,)]


def test_tables_of_others_are_named_and_granted_to_nobody(granted: Granted) -> None:
    rows("CREATE TABLE elsewhere (id int)")
    assert database_roles.grant({}).undecided == ("elsewhere",)
    for process in PROCESSES:
        with (
            acting_as(process),
            pytest.raises(ProgrammingError, match="elsewhere"),
            transaction.atomic(),
        ):
            rows("SELECT * FROM elsewhere")


def test_a_schema_in_which_everybody_may_create_tables_is_closed(granted: Granted) -> None:
    rows("GRANT CREATE ON SCHEMA public TO PUBLIC")
    database_roles.grant({})
    assert rows("SELECT has_schema_privilege('public', 'public', 'CREATE')") == [(False,)]


@contextmanager
def owned_by_another(*, creates_roles: bool) -> Iterator[None]:
    """We are a user who owns the tables, as a deployment's, and no superuser."""
    name = f"o{uuid.uuid4().hex[:10]}"
    with transaction.atomic():
        with connection.cursor() as cursor:
            owner = sql.Identifier(name)
            may = sql.SQL("CREATEROLE" if creates_roles else "NOCREATEROLE")
            cursor.execute(sql.SQL("CREATE ROLE {} {}").format(owner, may))
            database = sql.Identifier(connection.settings_dict["NAME"])
            cursor.execute(sql.SQL("ALTER DATABASE {} OWNER TO {}").format(database, owner))
            for (table,) in rows(
                "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace "
                "AND relkind IN ('r', 'p', 'v')"
            ):
                cursor.execute(
                    sql.SQL("ALTER TABLE {} OWNER TO {}").format(sql.Identifier(table), owner)
                )
            cursor.execute(sql.SQL("ALTER FUNCTION seen_tidy(int) OWNER TO {}").format(owner))
            cursor.execute(sql.SQL("SET LOCAL ROLE {}").format(owner))
        yield
        transaction.set_rollback(True)


def test_an_owner_who_is_no_superuser_can_do_all_of_it(settings: Settings) -> None:
    settings.NOTIFY_NAMESPACE = f"t{uuid.uuid4().hex[:10]}"
    with owned_by_another(creates_roles=True):
        database_roles.grant({WORKER: "a-password"})
        assert given() == said()
        assert rows(
            "SELECT rolname FROM pg_roles WHERE rolcanlogin AND rolname LIKE %s",
            f"{settings.NOTIFY_NAMESPACE}%",
        ) == [(database_roles.role_of(WORKER),)]
        rows("SELECT seen_tidy(1)")


def test_a_schema_of_another_that_is_open_to_all_is_refused(settings: Settings) -> None:
    settings.NOTIFY_NAMESPACE = f"t{uuid.uuid4().hex[:10]}"
    rows("ALTER SCHEMA public OWNER TO CURRENT_USER")
    rows("GRANT CREATE ON SCHEMA public TO PUBLIC")
    with (
        owned_by_another(creates_roles=True),
        pytest.raises(CommandError, match="REVOKE CREATE ON SCHEMA public FROM PUBLIC"),
    ):
        call_command("database", "roles")


def test_an_owner_who_may_make_no_roles_is_told_what_to_do(settings: Settings) -> None:
    settings.NOTIFY_NAMESPACE = name = f"t{uuid.uuid4().hex[:10]}"
    with owned_by_another(creates_roles=False):
        with pytest.raises(CommandError, match=f'CREATE ROLE "{name}_web" NOLOGIN; CREATE ROLE'):
            call_command("database", "roles")
        rows("RESET ROLE")
        assert rows("SELECT 1 FROM pg_roles WHERE rolname LIKE %s", f"{name}%") == []


def test_who_does_not_own_the_tables_is_told(granted: Granted) -> None:
    with acting_as(WEB), pytest.raises(CommandError, match="owns no tables"):
        call_command("database", "roles")
    Topic.objects.create(id=uuid.uuid4(), name="updates", partitions=1)
    with acting_as(WEB), pytest.raises(CommandError, match="Run the command as the user that"):
        call_command("lanes", "--to", "3")


def test_a_role_whose_name_would_be_cut_is_refused(settings: Settings) -> None:
    settings.NOTIFY_NAMESPACE = "n" * 57
    with pytest.raises(CommandError, match="shorten NOTIFY_NAMESPACE"):
        call_command("database", "roles")


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("flower=X", "PROCESS is one of web, bridge, worker, watch"),
        ("web", "give PROCESS=VARIABLE"),
        ("web=NOTIFY_NO_SUCH", "NOTIFY_NO_SUCH is not set: set it, or NOTIFY_NO_SUCH_FILE"),
    ],
)
def test_a_login_that_cannot_be_is_refused(word: str, said: str) -> None:
    with pytest.raises(CommandError, match=said):
        call_command("database", "roles", "--login", word)
