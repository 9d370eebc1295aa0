"""A signature is of a named person, given just now, with a meaning, for one record as it is stored."""

import pytest
from sqlalchemy import select, text

from access_cases import PASSWORD, access_with_people
from msc_vision.errors import InvalidArgumentError
from msc_vision.service.access import (
    ForbiddenError,
    LockedOutError,
    NotAuthenticatedError,
    PasswordExpiredError,
    Principal,
    SignatureRefusedError,
    SignatureRequest,
    list_signatures,
)
from msc_vision.service.access.signatures import sign as sign_for
from msc_vision.service.store import NotFoundError, Store, canonical_json, text_sha256, verify_store
from msc_vision.service.store import tables as t
from store_cases import add_decision


@pytest.fixture
def access(store):
    return access_with_people(store)


def principal_of(access, name):
    return next(person.principal for person in access.list_people() if person.username == name)


def request_for(row, meaning="approval", **changes):
    return SignatureRequest(
        **{"decision_id": row["decision_id"], "record_sha256": row["record_sha256"]} | changes | {"meaning": meaning}
    )


def sign(access, name, row, password=PASSWORD, **changes):
    return access.sign(request_for(row, **changes), principal=principal_of(access, name), password=password)


def last_entry(store):
    store.write(lambda tx: None).result(10)
    return store.read(lambda connection: connection.execute(select(t.audit).order_by(t.audit.c.seq.desc())).first())


def test_a_signature_shows_name_time_and_meaning_and_is_bound_to_its_record(access, store):
    row = add_decision(store, "d1")
    signature = sign(access, "approver", row)
    assert (signature.printed_name, signature.meaning, signature.position) == ("Dr Approver", "approval", 1)
    assert signature.record_sha256 == row["record_sha256"]
    assert signature.document_sha256 == text_sha256(row["record"])
    assert signature.signed_at.endswith("+00:00")
    entry = last_entry(store)
    assert (entry.who, entry.what, entry.why, entry.target) == (
        "person:approver",
        "sign decision",
        "approval",
        "signatures",
    )
    assert store.read(lambda connection: list_signatures(connection, "d1")) == (signature,)
    assert verify_store(store) == ()


REFUSALS = {
    "the wrong password": (NotAuthenticatedError, "Wrong name or password", {"password": "wrong"}, {}),
    "somebody who only looks": (ForbiddenError, "needs the scope sign", {"name": "viewer"}, {}),
    "an operator": (ForbiddenError, "needs the scope sign", {"name": "operator"}, {}),
    "an admin, who appoints but does not judge": (ForbiddenError, "needs the scope sign", {"name": "admin"}, {}),
    "a reviewer where one is enough": (SignatureRefusedError, "takes the role approver", {"name": "reviewer"}, {}),
    "another record's sha256": (SignatureRefusedError, "not the one that was shown", {"record_sha256": "0" * 64}, {}),
    "draft rules": (SignatureRefusedError, "made with a draft rule set", {}, {"rule_set_status": "draft"}),
    "a meaning of one's own": (SignatureRefusedError, "means one of review, approval", {"meaning": "ok"}, {}),
    "no meaning": (SignatureRefusedError, "means one of review, approval", {"meaning": ""}, {}),
}  # fmt: skip


@pytest.mark.parametrize(("kind", "message", "call", "decision"), REFUSALS.values(), ids=REFUSALS.keys())
def test_a_signature_is_refused_and_noted(access, store, kind, message, call, decision):
    row = add_decision(store, "d1", **decision)
    call = {"name": "approver", **call}
    with pytest.raises(kind, match=message):
        sign(access, call.pop("name"), row, **call)
    assert last_entry(store).what == "refused: sign decision"
    assert store.read(lambda connection: list_signatures(connection, "d1")) == ()


def test_an_unknown_decision_is_not_signed(access):
    with pytest.raises(NotFoundError, match="no row 'd9'"):
        sign(access, "approver", {"decision_id": "d9", "record_sha256": "0" * 64})


def test_a_key_never_signs(access, store):
    row = add_decision(store, "d1")
    key = Principal("key", "k1", "approver", frozenset({"read", "decide"}))
    with pytest.raises(ForbiddenError, match="needs the scope sign"):
        access.sign(request_for(row), principal=key, password=PASSWORD)


def test_a_superseded_decision_is_not_signed(access, store):
    row = add_decision(store, "d1")
    later = add_decision(store, "d2", supersedes="d1")
    with pytest.raises(SignatureRefusedError, match="superseded by d2; sign that one"):
        sign(access, "approver", row)
    assert sign(access, "approver", later).decision_id == "d2"


ALTERATIONS = {
    "its verdict in the column": {"verdict": "NO_GO"},
    "its document": {"record": canonical_json({"decision_id": "d1", "record_sha256": "x", "verdict": "GO"})},
    "its vessel": {"vessel_id": "STACK-8"},
    "the state of its rules": {"rule_set_status": "approved "},
}


@pytest.mark.parametrize("values", ALTERATIONS.values(), ids=ALTERATIONS.keys())
def test_a_decision_that_was_altered_is_not_signed(sqlite_url, values):
    with Store.open(sqlite_url) as store:
        access, row = access_with_people(store), add_decision(store, "d1")

        def alter(tx):
            tx.connection.execute(text("DROP TRIGGER decisions_no_update"))
            tx.connection.execute(t.decisions.update().values(**values))

        store.write(alter).result(10)
        with pytest.raises(SignatureRefusedError, match="was altered"):
            sign(access, "approver", row)


def test_a_document_and_hash_altered_together_are_not_signed(sqlite_url):
    """The columns fit each other again, but not the log."""
    with Store.open(sqlite_url) as store:
        access, row = access_with_people(store), add_decision(store, "d1", verdict="NO_GO")
        forged = row["record"].replace("NO_GO", "GO")

        def alter(tx):
            tx.connection.execute(text("DROP TRIGGER decisions_no_update"))
            values = {"record": forged, "document_sha256": text_sha256(forged), "verdict": "GO"}
            tx.connection.execute(t.decisions.update().values(**values))

        store.write(alter).result(10)
        with pytest.raises(SignatureRefusedError, match="was altered"):
            sign(access, "approver", row)


def test_one_signature_is_enough_by_default(access, store):
    row = add_decision(store, "d1")
    sign(access, "approver", row)
    access.add_person("second", "Dr Second", ["approver"], PASSWORD, by="person:admin")
    with pytest.raises(SignatureRefusedError, match="signed already, by Dr Approver"):
        sign(access, "second", row)


def test_two_people_sign_the_second_as_approver(store):
    access = access_with_people(store, n_signatures=2)
    row = add_decision(store, "d1")
    assert sign(access, "reviewer", row, meaning="review").position == 1
    with pytest.raises(SignatureRefusedError, match="Dr Reviewer has signed already; the second signature is another"):
        sign(access, "reviewer", row)
    assert sign(access, "approver", row).position == 2
    with pytest.raises(SignatureRefusedError, match="signed already, by Dr Reviewer and Dr Approver"):
        sign(access, "approver", row)
    assert verify_store(store) == ()


def test_an_approver_cannot_sign_twice_for_two_people(store):
    access = access_with_people(store, n_signatures=2)
    row = add_decision(store, "d1")
    sign(access, "approver", row)
    with pytest.raises(SignatureRefusedError, match="another person's"):
        sign(access, "approver", row)
    with pytest.raises(SignatureRefusedError, match="The last signature takes the role approver"):
        sign(access, "reviewer", row)


def test_a_role_that_was_taken_meanwhile_does_not_sign(access, store):
    """The session still says approver; what counts is what is stored when the signature is written."""
    row = add_decision(store, "d1")
    approver = principal_of(access, "approver")
    known = access.authenticate_password("approver", PASSWORD)
    access.set_roles("approver", ["viewer"], by="person:admin", why="moved")
    with pytest.raises(SignatureRefusedError, match="Dr Approver may not sign"):
        access.sign(request_for(row), principal=approver, password=PASSWORD)
    with pytest.raises(SignatureRefusedError, match="Dr Approver may not sign"):
        store.write(lambda tx: sign_for(tx, request_for(row), known, access.settings)).result(10)


def test_a_deactivated_person_does_not_sign(access, store):
    row = add_decision(store, "d1")
    approver = principal_of(access, "approver")
    access.deactivate("approver", by="person:admin", why="left")
    with pytest.raises(NotAuthenticatedError):
        access.sign(request_for(row), principal=approver, password=PASSWORD)


def test_guessing_at_signatures_locks_out(access, store):
    row = add_decision(store, "d1")
    for _ in range(5):
        with pytest.raises(NotAuthenticatedError):
            sign(access, "approver", row, password="guess")
    with pytest.raises(LockedOutError):
        sign(access, "approver", row)


def test_an_expired_password_does_not_sign(store):
    access = access_with_people(store, password_max_age_days=1e-9)
    with pytest.raises(PasswordExpiredError):
        sign(access, "approver", add_decision(store, "d1"))


def test_keys_and_sessions_are_known_in_both_databases(store):
    access = access_with_people(store, touch_s=0, cache_s=0)
    key, session = access.add_key("MES", ["read"], by="person:admin"), access.log_in("viewer", PASSWORD)
    for _ in range(2):
        assert access.authenticate_key(key.token).name == "MES"
        assert access.authenticate_session(session.token).name == "viewer"
    rotated = access.rotate_key(key.key.key_id, by="person:admin", overlap_h=1)
    access.revoke_key(rotated.key.key_id, by="person:admin", why="leaked")
    access.log_out(session.token, by=session.person.principal)
    with pytest.raises(NotAuthenticatedError, match="was revoked"):
        access.authenticate_key(rotated.token)
    with pytest.raises(NotAuthenticatedError, match="was ended"):
        access.authenticate_session(session.token)
    store.write(lambda tx: None).result(10)
    assert {listed.last_used_at is None for listed in access.list_keys()} == {True, False}
    assert verify_store(store) == ()


def test_signatures_are_kept_as_they_are(access, store):
    row = add_decision(store, "d1")
    signature = sign(access, "approver", row)
    with pytest.raises(InvalidArgumentError, match="never changed"):
        store.write(
            lambda tx: tx.update(t.signatures, signature.signature_id, {"meaning": "review"}, who="x", what="y")
        ).result(10)
