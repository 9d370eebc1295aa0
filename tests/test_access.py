"""Who may do what: passwords, lock-out, sessions, keys, and a note of every refusal."""

import time
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select

from access_cases import PASSWORD, access_with_people, quick_settings
from msc_vision.errors import InvalidArgumentError
from msc_vision.service.access import (
    KEY_SCOPES,
    ROLE_SCOPES,
    ROLES,
    SCOPES,
    Access,
    ForbiddenError,
    LockedOutError,
    NotAuthenticatedError,
    PasswordExpiredError,
    PasswordRefusedError,
)
from msc_vision.service.access import keys as keys_module
from msc_vision.service.access.failures import delay_s
from msc_vision.service.access.passwords import check_password, normal_username
from msc_vision.service.access.principals import PERSONAL_SCOPES
from msc_vision.service.store import NotFoundError, StoreConflictError, utc_text, verify_store
from msc_vision.service.store import tables as t

BY = "person:admin"


@pytest.fixture
def database_url(sqlite_url):
    """Use one kind of database: what differs between them is tested with the store and the signatures."""
    return sqlite_url


@pytest.fixture
def access(store):
    return access_with_people(store)


def log_of(store):
    """Return (who, what, why) of every entry, after what is queued."""
    store.write(lambda tx: None).result(10)
    query = select(t.audit.c.who, t.audit.c.what, t.audit.c.why).order_by(t.audit.c.seq)
    return [tuple(row) for row in store.read(lambda connection: connection.execute(query).all())]


def age(store, table, **values):
    """Let rows be older than they are (the log is not told: this is a test's clock)."""
    store.write(lambda tx: tx.connection.execute(table.update().values(**values))).result(10)


def ago(**span):
    return utc_text(datetime.now(UTC) - timedelta(**span))


# -- roles and scopes -------------------------------------------------------------------------------------------------

MATRIX = """
            read score decide review sign rules admin audit
viewer      yes  no    no     no     no   no    no    no
operator    yes  yes   yes    no     no   no    no    no
reviewer    yes  yes   yes    yes    yes  no    no    no
approver    yes  yes   yes    yes    yes  yes   no    no
admin       yes  no    no     no     no   no    yes   yes
"""


def test_each_role_has_its_scopes(access):
    header, *lines = [line.split() for line in MATRIX.strip().splitlines()]
    for role, *words in lines:
        principal = access.authenticate_password(role, PASSWORD).principal
        assert {scope: principal.can(scope) for scope in header} == {
            scope: word == "yes" for scope, word in zip(header, words, strict=True)
        }


def test_several_roles_add_up(access):
    person = access.add_person("ada", "Ada", ["admin", "approver"], PASSWORD, by=BY)
    assert person.principal.scopes == ROLE_SCOPES["admin"] | ROLE_SCOPES["approver"]


def test_a_scope_that_is_lacking_is_refused_and_noted(access, store):
    viewer = access.authenticate_password("viewer", PASSWORD).principal
    access.require(viewer, "read", what="list decisions")
    with pytest.raises(ForbiddenError, match="needs the scope decide, which viewer does not have"):
        access.require(viewer, "decide", what="make decision", target="decisions")
    assert log_of(store)[-1][:2] == ("person:viewer", "refused: make decision")


# -- people and passwords ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("password", "message"),
    [
        ("short", "12 to 256 characters; this one has 5"),
        ("elevenchars", "this one has 11"),
        ("x1y" * 100, "this one has 300"),
        ("passwordpassword", "first that anybody would try"),
        ("PasswordPassword", "first that anybody would try"),
        ("abababababababab", "first that anybody would try"),
        ("i am Ada99 and sure", "must not contain the username"),
    ],
)
def test_an_easy_password_is_refused(password, message):
    with pytest.raises(PasswordRefusedError, match=message):
        check_password(password, username="ada99")


def test_a_refused_password_is_in_no_log(access, store):
    with pytest.raises(PasswordRefusedError) as caught:
        access.set_password("viewer", "hunter2", by=BY)
    assert "hunter2" not in str(caught.value)
    assert not any("hunter2" in str(entry) for entry in log_of(store))


@pytest.mark.parametrize(
    ("given_name", "stored"), [("Ada", "ada"), (" ada.l@site-2 ", "ada.l@site-2"), ("ＡＤＡ", "ada")]
)
def test_usernames_have_one_form(given_name, stored):
    assert normal_username(given_name) == stored


@pytest.mark.parametrize(
    "name", ["", "a", ".ada", "ada lovelace", "ada/../x", "x" * 65, "а́da", "a'; DROP TABLE people;--"]
)
def test_other_usernames_are_refused(access, name):
    with pytest.raises(InvalidArgumentError, match="is no username"):
        access.add_person(name, "Ada", ["viewer"], PASSWORD, by=BY)
    with pytest.raises(NotAuthenticatedError, match="Wrong name or password"):
        access.log_in(name, PASSWORD)


def test_a_username_is_taken_for_ever(access):
    access.deactivate("viewer", by=BY, why="left")
    with pytest.raises(StoreConflictError, match="viewer exists already"):
        access.add_person("viewer", "Another", ["viewer"], PASSWORD, by=BY)


@pytest.mark.parametrize(("roles", "message"), [([], "At least one role"), (["chief"], "No such role: chief")])
def test_only_known_roles_are_given(access, roles, message):
    with pytest.raises(InvalidArgumentError, match=message):
        access.add_person("ada", "Ada", roles, PASSWORD, by=BY)
    with pytest.raises(InvalidArgumentError, match=message):
        access.set_roles("viewer", roles, by=BY, why="test")


def test_a_signature_needs_a_name_to_print(access):
    with pytest.raises(InvalidArgumentError, match="what a signature shows"):
        access.add_person("ada", "  ", ["viewer"], PASSWORD, by=BY)


def test_a_password_is_kept_as_an_argon2id_hash(access, store):
    hashes = store.read(lambda connection: connection.scalars(select(t.people.c.password_hash)).all())
    assert len(set(hashes)) == len(ROLES), "salted"
    assert all(each.startswith("$argon2id$") for each in hashes)


def test_one_password_has_one_form_however_it_was_typed(access):
    access.add_person("ada", "Ada", ["viewer"], "\u00c5ngstr\u00f6m's cells", by=BY)
    access.log_in("ada", "A\u030angstro\u0308m's cells")


def test_a_password_that_is_changed_while_it_is_checked_does_not_count(access, monkeypatch):
    is_right = access._hasher.is_right

    def change_meanwhile(password, password_hash):
        access.set_password("viewer", "another long password", by=BY)
        return is_right(password, password_hash)

    monkeypatch.setattr(access._hasher, "is_right", change_meanwhile)
    with pytest.raises(NotAuthenticatedError, match="Wrong name or password"):
        access.log_in("viewer", PASSWORD)


def test_wrong_name_and_wrong_password_read_alike(access):
    told = set()
    for name, password in [("viewer", "wrong"), ("nobody-here", PASSWORD), ("viewer", ""), ("viewer", "\ud800")]:
        with pytest.raises(NotAuthenticatedError) as caught:
            access.authenticate_password(name, password)
        told.add(str(caught.value))
    assert told == {"Wrong name or password."}


def test_an_unknown_name_costs_a_hash_too(access, monkeypatch):
    hashed = []
    is_right = access._hasher.is_right
    monkeypatch.setattr(access._hasher, "is_right", lambda *given: hashed.append(given) or is_right(*given))
    with pytest.raises(NotAuthenticatedError):
        access.authenticate_password("nobody-here", PASSWORD)
    assert hashed == [(PASSWORD, None)]


def test_the_hash_is_renewed_when_the_cost_is_raised(access, store):
    dearer = quick_settings()
    dearer = dearer.model_copy(update={"hashing": dearer.hashing.model_copy(update={"time_cost": 2})})
    person = Access(store, dearer).authenticate_password("viewer", PASSWORD)
    hash_ = store.read(lambda c: c.scalar(select(t.people.c.password_hash).where(t.people.c.username == "viewer")))
    assert "t=2" in hash_
    assert person.username == "viewer"
    access.authenticate_password("viewer", PASSWORD)


def test_an_old_password_has_to_be_changed_first(store):
    access = access_with_people(store, password_max_age_days=90)
    age(store, t.people, password_changed_at=ago(days=91))
    with pytest.raises(PasswordExpiredError, match="change it first"):
        access.log_in("viewer", PASSWORD)
    with pytest.raises(NotAuthenticatedError, match="Wrong name or password"):
        access.log_in("viewer", "wrong")
    access.change_password("viewer", PASSWORD, "another long password")
    access.log_in("viewer", "another long password")
    with pytest.raises(NotAuthenticatedError):
        access.log_in("viewer", PASSWORD)


def test_the_new_password_is_another_one(access):
    with pytest.raises(InvalidArgumentError, match="is the old one"):
        access.change_password("viewer", PASSWORD, PASSWORD)


def test_a_deactivated_person_is_shut_out(access):
    session = access.log_in("viewer", PASSWORD)
    assert access.deactivate("viewer", by=BY, why="left").is_active is False
    with pytest.raises(NotAuthenticatedError, match="deactivated"):
        access.authenticate_session(session.token)
    with pytest.raises(NotAuthenticatedError, match="Wrong name or password"):
        access.log_in("viewer", PASSWORD)


def test_somebody_remains_admin(access):
    with pytest.raises(InvalidArgumentError, match="only active admin"):
        access.deactivate("admin", by=BY, why="test")
    with pytest.raises(InvalidArgumentError, match="only active admin"):
        access.set_roles("admin", ["viewer"], by=BY, why="test")
    access.set_roles("viewer", ["viewer", "admin"], by=BY, why="deputy")
    access.deactivate("admin", by=BY, why="left")


def test_nobody_is_changed_who_is_not_there(access):
    with pytest.raises(NotFoundError, match="Nobody is called eve"):
        access.set_roles("eve", ["viewer"], by=BY, why="test")


# -- lock-out ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["viewer", "nobody-here"], ids=["a person", "an unknown name"])
def test_wrong_passwords_in_a_row_lock_out_for_a_while(access, store, name):
    for _ in range(5):
        with pytest.raises(NotAuthenticatedError, match="Wrong name"):
            access.log_in(name, "wrong")
    with pytest.raises(LockedOutError, match="Too many wrong passwords; try again in") as caught:
        access.log_in(name, PASSWORD)
    assert 0 < caught.value.retry_after_s <= 2
    assert log_of(store)[-1][:2] == (f"person:{name}", "refused: log in")
    age(store, t.login_failures, locked_until=ago(seconds=1))
    with pytest.raises(NotAuthenticatedError, match="Wrong name"):
        access.log_in(name, "wrong")
    with pytest.raises(LockedOutError) as caught:
        access.log_in(name, "wrong")
    assert 2 < caught.value.retry_after_s <= 4, "it doubles"


def test_a_right_password_starts_the_count_anew(access, store):
    for _ in range(3):
        for _ in range(4):
            with pytest.raises(NotAuthenticatedError, match="Wrong name"):
                access.log_in("viewer", "wrong")
        access.log_in("viewer", PASSWORD)


def test_old_failures_are_forgotten(access, store):
    for _ in range(5):
        with pytest.raises(NotAuthenticatedError, match="Wrong name"):
            access.log_in("viewer", "wrong")
    age(store, t.login_failures, last_failed_at=ago(hours=25), locked_until=ago(hours=24))
    with pytest.raises(NotAuthenticatedError, match="Wrong name"):
        access.log_in("viewer", "wrong")
    access.log_in("viewer", PASSWORD)


def test_attempts_at_one_moment_count_one_by_one(access):
    """Each attempt is counted before its password is looked at, so a volley does not slip through."""
    from concurrent.futures import ThreadPoolExecutor

    def attempt(n):
        try:
            access.log_in("viewer", f"guess {n}")
        except NotAuthenticatedError as err:
            return type(err)

    with ThreadPoolExecutor(8) as pool:
        outcomes = list(pool.map(attempt, range(24)))
    assert outcomes.count(NotAuthenticatedError) == 5
    assert outcomes.count(LockedOutError) == 19


def test_an_admin_lifts_a_lock_out_with_a_new_password(access):
    for _ in range(6):
        with pytest.raises(NotAuthenticatedError):
            access.log_in("viewer", "wrong")
    access.set_password("viewer", "another long password", by=BY)
    access.log_in("viewer", "another long password")


@given(st.integers(0, 10_000))
def test_the_delay_grows_up_to_its_limit(n_failures):
    settings = quick_settings()
    assert 0 <= delay_s(n_failures, settings) <= delay_s(n_failures + 1, settings) <= settings.max_delay_s
    assert (delay_s(n_failures, settings) == 0) == (n_failures <= settings.n_free_failures)


# -- sessions ---------------------------------------------------------------------------------------------------------


def test_a_session_is_known_by_its_token_only(access, store):
    session = access.log_in("operator", PASSWORD)
    assert access.authenticate_session(session.token).name == "operator"
    assert session.token not in str(session)
    stored = store.read(lambda connection: connection.execute(select(t.sessions)).one())
    assert session.token not in str(stored)
    for wrong in ("", "x", session.token + "x", session.token[:-1], stored.token_sha256):
        with pytest.raises(NotAuthenticatedError, match="not known"):
            access.authenticate_session(wrong)


@pytest.mark.parametrize(
    ("table", "values", "reason"),
    [
        (t.sessions, {"expires_at": ago(seconds=1)}, "too old"),
        (t.session_uses, {"last_seen_at": ago(hours=2)}, "idle for too long"),
        (t.sessions, {"created_at": ago(days=1)}, "the password was changed"),
    ],
)
def test_a_session_ends_by_itself(access, store, table, values, reason):
    session = access.log_in("operator", PASSWORD)
    age(store, table, **values)
    with pytest.raises(NotAuthenticatedError, match=reason):
        access.authenticate_session(session.token)


def test_a_session_that_is_used_does_not_end(store):
    access = access_with_people(store, touch_s=0, cache_s=0)
    session = access.log_in("operator", PASSWORD)
    age(store, t.session_uses, last_seen_at=ago(minutes=50))
    access.authenticate_session(session.token)
    store.write(lambda tx: None).result(10)
    last = store.read(lambda connection: connection.scalar(select(t.session_uses.c.last_seen_at)))
    assert last > ago(minutes=1)


def test_logging_out_ends_a_session_at_once(access, store):
    session = access.log_in("operator", PASSWORD)
    principal = access.authenticate_session(session.token)
    access.log_out(session.token, by=principal)
    with pytest.raises(NotAuthenticatedError, match="was ended"):
        access.authenticate_session(session.token)
    assert ("person:operator", "log out", None) in log_of(store)


def test_a_new_password_ends_the_sessions_of_the_old_one(access):
    session = access.log_in("operator", PASSWORD)
    access.authenticate_session(session.token)
    time.sleep(0.002)  # times are kept to the millisecond
    access.change_password("operator", PASSWORD, "another long password")
    with pytest.raises(NotAuthenticatedError, match="password was changed"):
        access.authenticate_session(session.token)


def test_a_role_that_was_taken_is_gone_from_running_sessions(access):
    session = access.log_in("operator", PASSWORD)
    assert access.authenticate_session(session.token).can("decide")
    access.set_roles("operator", ["viewer"], by=BY, why="moved")
    assert not access.authenticate_session(session.token).can("decide")


# -- keys -------------------------------------------------------------------------------------------------------------


def test_a_key_is_shown_once_and_kept_as_a_hash(access, store):
    new = access.add_key("MES", ["decide", "read"], by=BY)
    principal = access.authenticate_key(new.token)
    assert (principal.kind, principal.name, principal.scopes) == ("key", "MES", {"read", "decide"})
    assert principal.who == f"key:{new.key.key_id}"
    secret = new.token.split("_", 2)[2]
    stored = store.read(lambda connection: connection.execute(select(t.api_keys)).one())
    assert secret not in str(stored)
    assert secret not in str(new)
    assert not any(secret in str(entry) for entry in log_of(store))


@pytest.mark.parametrize("scope", sorted(PERSONAL_SCOPES))
def test_a_key_never_judges_or_appoints(access, store, scope):
    with pytest.raises(InvalidArgumentError, match=f"Only people may {scope}"):
        access.add_key("MES", ["read", scope], by=BY)
    new = access.add_key("MES", ["read"], by=BY)
    age(store, t.api_keys, scopes=f'["read","{scope}"]')  # not even if the table says so
    assert access.authenticate_key(new.token).scopes == {"read"}


def test_a_key_may_have_every_other_scope(access):
    new = access.add_key("all", KEY_SCOPES, by=BY)
    assert access.authenticate_key(new.token).scopes == set(SCOPES) - PERSONAL_SCOPES


@pytest.mark.parametrize(
    "change",
    [
        lambda token: "",
        lambda token: token[:-1],
        lambda token: token + "x",
        lambda token: token.replace("mv_", "mw_"),
        lambda token: token.split("_")[1],
        lambda token: f"mv_{'0' * 12}_{token.split('_', 2)[2]}",
        lambda token: token.upper(),
        lambda token: "mv_\ud800_x",
        lambda token: "mv_' OR 1=1 --_x",
        lambda token: token + "\x00",
        lambda token: "mv_a_" + "x" * 10_000,
    ],
)
def test_a_key_that_is_not_quite_one_is_refused_and_noted(access, store, change):
    new = access.add_key("MES", ["read"], by=BY)
    with pytest.raises(NotAuthenticatedError, match="not known"):
        access.authenticate_key(change(new.token))
    assert log_of(store)[-1][1:] == ("refused: use key", "This API key is not known.")


def test_refusals_can_be_taken_by_somebody_who_sums_them_up(store):
    taken = []
    access = Access(store, quick_settings(), note=taken.append)
    for n in range(3):
        with pytest.raises(NotAuthenticatedError):
            access.authenticate_key(f"mv_{n}_x")
    assert [(err.who, err.what) for err in taken] == [(f"key:{n}", "use key") for n in range(3)]
    assert log_of(store) == []


def test_a_key_ends_by_its_date(access, store):
    new = access.add_key("MES", ["read"], by=BY, expires_at=datetime.now(UTC) + timedelta(days=1))
    access.authenticate_key(new.token)
    age(store, t.api_keys, expires_at=ago(seconds=1))
    access._forget()
    with pytest.raises(NotAuthenticatedError, match="expired at"):
        access.authenticate_key(new.token)
    with pytest.raises(InvalidArgumentError, match="has passed"):
        access.add_key("MES", ["read"], by=BY, expires_at=datetime.now(UTC))


def test_a_key_ends_by_its_age(store):
    access = access_with_people(store, key_max_age_days=30, cache_s=0)
    new = access.add_key("MES", ["read"], by=BY)
    access.authenticate_key(new.token)
    age(store, t.api_keys, created_at=ago(days=31))
    with pytest.raises(NotAuthenticatedError, match="expired at"):
        access.authenticate_key(new.token)


def test_a_rotated_key_works_on_for_the_overlap(access, store):
    old = access.add_key("MES", ["read", "decide"], by=BY)
    new = access.rotate_key(old.key.key_id, by=BY, overlap_h=24)
    assert (new.key.name, new.key.scopes, new.key.rotated_from) == ("MES", ("read", "decide"), old.key.key_id)
    assert access.authenticate_key(old.token).scopes == access.authenticate_key(new.token).scopes
    again = access.rotate_key(new.key.key_id, by=BY, overlap_h=0)
    with pytest.raises(NotAuthenticatedError, match="expired"):
        access.authenticate_key(new.token)
    access.authenticate_key(again.token)
    with pytest.raises(InvalidArgumentError, match="has ended"):
        access.rotate_key(new.key.key_id, by=BY, overlap_h=1)


def test_rotation_never_prolongs_a_key(access):
    old = access.add_key("MES", ["read"], by=BY, expires_at=datetime.now(UTC) + timedelta(hours=1))
    access.rotate_key(old.key.key_id, by=BY, overlap_h=24)
    assert {key.key_id: key.expires_at for key in access.list_keys()}[old.key.key_id] == old.key.expires_at


def test_a_revoked_key_is_refused_at_once(access, store):
    new = access.add_key("MES", ["read"], by=BY)
    access.authenticate_key(new.token)
    access.revoke_key(new.key.key_id, by=BY, why="leaked")
    with pytest.raises(NotAuthenticatedError, match="was revoked"):
        access.authenticate_key(new.token)
    assert (BY, "revoke key", "leaked") in log_of(store)
    access.revoke_key(new.key.key_id, by=BY, why="again")


def test_a_key_revoked_by_another_process_is_refused_within_the_cache_time(access, store):
    new = access.add_key("MES", ["read"], by=BY)
    other = Access(store, quick_settings(cache_s=0.05))
    other.authenticate_key(new.token)
    access.revoke_key(new.key.key_id, by=BY, why="leaked")
    time.sleep(0.06)
    with pytest.raises(NotAuthenticatedError, match="was revoked"):
        other.authenticate_key(new.token)


def test_a_remembered_key_needs_no_database(access, store, monkeypatch):
    new = access.add_key("MES", ["read"], by=BY)
    first = access.authenticate_key(new.token)
    monkeypatch.setattr(store, "read", None)
    assert access.authenticate_key(new.token) == first


def test_the_last_use_of_a_key_is_written_now_and_then(access, store):
    new = access.add_key("MES", ["read"], by=BY)
    for _ in range(3):
        access.authenticate_key(new.token)
        access._forget()
    store.write(lambda tx: None).result(10)
    (key,) = access.list_keys()
    assert key.last_used_at is not None


@given(st.text(max_size=60))
def test_no_text_splits_into_a_wrong_token(text):
    parts = keys_module.split_token(text)
    assert parts is None or "_".join(("mv", *parts)) == text


# -- all of it --------------------------------------------------------------------------------------------------------


def test_everything_is_logged_and_verifies(access, store):
    access.change_password("viewer", PASSWORD, "another long password")
    access.set_roles("operator", ["reviewer"], by=BY, why="trained")
    key = access.add_key("MES", ["read"], by=BY).key
    access.rotate_key(key.key_id, by=BY, overlap_h=1)
    access.log_in("approver", PASSWORD)
    access.deactivate("viewer", by=BY, why="left")
    what = [entry[1] for entry in log_of(store)]
    assert what == [
        *["add person"] * 5,
        *["set password", "set roles", "add key", "end rotated key", "rotate key", "log in", "deactivate person"],
    ]
    assert verify_store(store) == ()
