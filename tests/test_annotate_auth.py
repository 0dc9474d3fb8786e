"""Signing in: who gets in, for how long, and what is kept of secrets."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlmodel import col, select, update

from annotate import auth
from annotate.errors import BadInput, Conflict, NotAllowed, NotFound
from annotate.ledger import Ledger
from annotate.tables import Annotator, Audit, Identity, Token


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    ledger = Ledger.open(f"sqlite:///{tmp_path / 'labels.db'}")
    yield ledger
    ledger.close()


def who(ledger: Ledger, secret: str, kind: auth.Kind = "token", now: float | None = None) -> auth.Person | None:
    with ledger.read() as session:
        return auth.identify(session, secret, kind, now=now)


def test_a_new_token_adds_the_person_under_a_pseudonym(ledger: Ledger) -> None:
    person = who(ledger, auth.new_token(ledger, "Ann Example", "reviewer"))
    assert person is not None
    assert (person.name, person.role) == ("Ann Example", "reviewer")
    assert "ann" not in person.id.lower().removeprefix("a-")
    again = who(ledger, auth.new_token(ledger, "  Ann   Example "))
    assert again == person, "the same name is the same person, and no role given leaves the role as it is"


def test_a_role_given_for_someone_known_becomes_their_role(ledger: Ledger) -> None:
    first = auth.new_token(ledger, "ann", "annotator")
    auth.new_token(ledger, "ann", "lead")
    person = who(ledger, first)
    assert person is not None and person.role == "lead"


@pytest.mark.parametrize(("role", "allowed"), [("annotator", 1), ("reviewer", 2), ("lead", 3), ("admin", 4)])
def test_each_role_may_do_what_those_before_it_may(role: auth.Role, allowed: int) -> None:
    person = auth.Person("a-1", "ann", role)
    assert [person.may(needed) for needed in auth.ROLES] == [True] * allowed + [False] * (4 - allowed)


@pytest.mark.parametrize("name", ["", "   ", "x" * 81, "ann\x00", "ann\u202e"])
def test_a_name_that_cannot_be_shown_is_refused(ledger: Ledger, name: str) -> None:
    with pytest.raises(BadInput, match="1 to 80"):
        auth.new_token(ledger, name)


def test_an_unknown_role_is_refused_with_the_known_ones(ledger: Ledger) -> None:
    with pytest.raises(BadInput, match="annotator, reviewer, lead, admin"):
        auth.new_token(ledger, "ann", "root")  # type: ignore[arg-type]


def test_no_secret_is_kept_in_the_database(ledger: Ledger, tmp_path: Path) -> None:
    token = auth.new_token(ledger, "ann")
    auth.set_password(ledger, "ann", "correct horse")
    session = auth.login(ledger, "ann", "correct horse")
    _, link = auth.sign_in_link(ledger)
    ledger.close()
    stored = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    for secret in (token, session, link, "correct horse"):
        assert secret.encode() not in stored


def test_a_password_signs_in_and_a_wrong_one_does_not(ledger: Ledger) -> None:
    auth.new_token(ledger, "ann")
    auth.set_password(ledger, "ann", "correct horse")
    person = who(ledger, auth.login(ledger, "ann", "correct horse"), "session")
    assert person is not None and person.name == "ann"
    auth.new_token(ledger, "without password")
    messages = set()
    for name, password in [("ann", "wrong horse"), ("nobody", "correct horse"), ("without password", ""), ("ann", "")]:
        with pytest.raises(auth.NotSignedIn) as caught:
            auth.login(ledger, name, password)
        messages.add(str(caught.value))
    assert len(messages) == 1, "an answer must not tell whether the name exists"


def test_a_password_has_a_least_length_and_belongs_to_somebody(ledger: Ledger) -> None:
    auth.new_token(ledger, "ann")
    with pytest.raises(BadInput, match="8 to 1024"):
        auth.set_password(ledger, "ann", "1234567")
    with pytest.raises(NotFound, match="new-token"):
        auth.set_password(ledger, "bob", "correct horse")


def test_a_new_password_ends_the_sessions_of_the_old_one(ledger: Ledger) -> None:
    token = auth.new_token(ledger, "ann")
    auth.set_password(ledger, "ann", "correct horse")
    session = auth.login(ledger, "ann", "correct horse")
    auth.set_password(ledger, "ann", "battery staple")
    assert who(ledger, session, "session") is None
    assert who(ledger, token) is not None


def test_a_session_outlives_the_server_and_ends_after_its_time(ledger: Ledger, tmp_path: Path) -> None:
    session = auth.login_by_token(ledger, auth.new_token(ledger, "ann"))
    ledger.close()
    again = Ledger.open(f"sqlite:///{tmp_path / 'labels.db'}")
    now = time.time()
    assert who(again, session, "session", now + auth.SESSION_SECONDS - 60) is not None
    assert who(again, session, "session", now + auth.SESSION_SECONDS + 60) is None
    again.close()


def test_a_sign_in_link_works_once(ledger: Ledger) -> None:
    name, secret = auth.sign_in_link(ledger)
    person = who(ledger, auth.login_by_token(ledger, secret), "session")
    assert person is not None and (person.name, person.role) == (name, "admin")
    with pytest.raises(auth.NotSignedIn, match="used already"):
        auth.login_by_token(ledger, secret)


def test_a_sign_in_link_is_for_the_first_admin_and_makes_no_second_one(ledger: Ledger) -> None:
    auth.new_token(ledger, "ann", "admin")
    assert [auth.sign_in_link(ledger)[0] for _ in range(2)] == ["ann", "ann"]
    with ledger.read() as session:
        assert len(session.exec(select(Identity)).all()) == 1


def test_an_expired_link_signs_nobody_in(ledger: Ledger) -> None:
    _, secret = auth.sign_in_link(ledger)
    past = update(Token).where(col(Token.kind) == "link").values(expires_at=time.time() - 1)
    ledger.write(lambda session: session.exec(past))
    with pytest.raises(auth.NotSignedIn):
        auth.login_by_token(ledger, secret)


def test_each_secret_is_good_for_its_own_use_only(ledger: Ledger) -> None:
    token = auth.new_token(ledger, "ann")
    session = auth.login_by_token(ledger, token)
    _, link = auth.sign_in_link(ledger)
    kinds: dict[str, auth.Kind] = {token: "token", session: "session", link: "link"}
    for secret, own in kinds.items():
        for kind in kinds.values():
            assert (who(ledger, secret, kind) is not None) == (kind == own)
    with pytest.raises(auth.NotSignedIn):
        auth.login_by_token(ledger, session)


def test_whoever_is_made_inactive_is_out_at_once(ledger: Ledger) -> None:
    token = auth.new_token(ledger, "ann")
    auth.set_password(ledger, "ann", "correct horse")
    assert who(ledger, token) is not None
    ledger.write(lambda session: session.exec(update(Annotator).values(active=False)))
    assert who(ledger, token) is None
    with pytest.raises(auth.NotSignedIn):
        auth.login(ledger, "ann", "correct horse")


def test_signing_out_ends_the_session_only(ledger: Ledger) -> None:
    token = auth.new_token(ledger, "ann")
    first, second = auth.login_by_token(ledger, token), auth.login_by_token(ledger, token)
    auth.logout(ledger, first)
    assert [who(ledger, secret, "session") is not None for secret in (first, second)] == [False, True]


def test_tries_are_counted_for_each_key_and_forgotten_in_time() -> None:
    throttle = auth.Throttle(limit=3, seconds=60)
    for at in (0, 1, 2):
        throttle.take("ann", now=at)
    with pytest.raises(auth.TooManyAttempts, match="in 57 seconds"):
        throttle.take("ann", now=3)
    throttle.take("bob", now=3)
    throttle.take("ann", now=61)


def test_a_try_that_was_none_does_not_count() -> None:
    throttle = auth.Throttle(limit=2, seconds=60)
    for at in range(10):
        throttle.take("ann", now=at)
        throttle.forgive("ann")
    throttle.take("ann", now=11)
    throttle.take("ann", now=12)
    with pytest.raises(auth.TooManyAttempts):
        throttle.take("ann", now=13)


def test_the_throttle_forgets_keys_that_are_past() -> None:
    throttle = auth.Throttle(limit=1, seconds=1)
    for number in range(10_001):
        throttle.take(str(number), now=0)
    throttle.take("late", now=10)
    assert list(throttle.tries) == ["late"]


# --- people ----------------------------------------------------------------------------------------------------------


def person(ledger: Ledger, name: str, role: auth.Role) -> auth.Person:
    found = who(ledger, auth.new_token(ledger, name, role))
    assert found is not None
    return found


def test_an_invitation_signs_in_once_as_the_role_it_names(ledger: Ledger) -> None:
    secret = auth.invite(ledger, "bob", "reviewer")
    found = who(ledger, auth.login_by_token(ledger, secret), "session")
    assert found is not None and (found.name, found.role) == ("bob", "reviewer")
    with pytest.raises(auth.NotSignedIn):
        auth.login_by_token(ledger, secret)


def test_an_invitation_runs_out(ledger: Ledger) -> None:
    secret = auth.invite(ledger, "bob")
    assert who(ledger, secret, "link", time.time() + auth.INVITE_SECONDS - 60) is not None
    assert who(ledger, secret, "link", time.time() + auth.INVITE_SECONDS + 60) is None


def test_nobody_hands_out_or_takes_away_a_role_above_their_own(ledger: Ledger) -> None:
    lead, admin = person(ledger, "lea", "lead"), person(ledger, "ada", "admin")
    with pytest.raises(NotAllowed):
        auth.invite(ledger, "bob", "admin", by=lead)
    with pytest.raises(NotAllowed):
        auth.invite(ledger, "ada", "annotator", by=lead)
    with pytest.raises(NotAllowed):
        auth.invite(ledger, "ada", by=lead)
    with pytest.raises(NotAllowed):
        auth.deactivate(ledger, "ada", by=lead)
    with ledger.read() as session:
        assert {each.name for each in session.exec(select(Identity)).all()} == {"lea", "ada"}
    auth.invite(ledger, "bob", "lead", by=lead)
    auth.deactivate(ledger, "lea", by=admin)


def test_whoever_is_put_out_is_out_everywhere_until_let_in_again(ledger: Ledger) -> None:
    auth.new_token(ledger, "ada", "admin")
    token = auth.new_token(ledger, "bob")
    auth.set_password(ledger, "bob", "correct horse")
    session, link = auth.login(ledger, "bob", "correct horse"), auth.invite(ledger, "bob")
    auth.deactivate(ledger, "bob")
    assert [who(ledger, *each) for each in ((token,), (session, "session"), (link, "link"))] == [None] * 3  # type: ignore[arg-type]
    with pytest.raises(auth.NotSignedIn):
        auth.login(ledger, "bob", "correct horse")
    with pytest.raises(Conflict, match="reactivate"):
        auth.invite(ledger, "bob")
    auth.reactivate(ledger, "bob")
    assert who(ledger, token) is None, "what was revoked stays so"
    auth.login(ledger, "bob", "correct horse")


def test_the_last_admin_stays(ledger: Ledger) -> None:
    auth.new_token(ledger, "ada", "admin")
    with pytest.raises(Conflict, match="last admin"):
        auth.deactivate(ledger, "ada")
    auth.new_token(ledger, "eve", "admin")
    auth.deactivate(ledger, "ada")
    with pytest.raises(NotFound):
        auth.deactivate(ledger, "nobody")


def test_a_password_is_changed_by_who_knows_the_current_one(ledger: Ledger) -> None:
    bob = person(ledger, "bob", "annotator")
    auth.change_password(ledger, bob, "", "correct horse")
    session = auth.login(ledger, "bob", "correct horse")
    for wrong in ("", "wrong horse"):
        with pytest.raises(NotAllowed):
            auth.change_password(ledger, bob, wrong, "battery staple")
    auth.change_password(ledger, bob, "correct horse", "battery staple")
    assert who(ledger, session, "session") is None, "sessions of the old password end"
    auth.login(ledger, "bob", "battery staple")


@pytest.mark.parametrize("password", ["12345678", "Password1", "iloveyou", "football"])
def test_a_common_password_is_refused(ledger: Ledger, password: str) -> None:
    auth.new_token(ledger, "ann")
    with pytest.raises(BadInput, match="common"):
        auth.set_password(ledger, "ann", password)


@pytest.mark.parametrize(
    "password", [" only  spaces around ", "Ünï©ode ẞ passwort", "a" * 1024, "x'; DROP TABLE token--"]
)
def test_a_password_is_taken_as_it_is(ledger: Ledger, password: str) -> None:
    auth.new_token(ledger, "ann")
    auth.set_password(ledger, "ann", password)
    auth.login(ledger, "ann", password)
    for other in (password.strip() + "!", password.swapcase(), password[:-1]):
        with pytest.raises(auth.NotSignedIn):
            auth.login(ledger, "ann", other)


def test_what_is_done_to_people_stands_in_the_audit(ledger: Ledger) -> None:
    ada = person(ledger, "ada", "admin")
    auth.invite(ledger, "bob", by=ada)
    auth.deactivate(ledger, "bob", by=ada)
    auth.reactivate(ledger, "bob", by=ada)
    with ledger.read() as session:
        rows = session.exec(select(Audit).where(Audit.actor == ada.id)).all()
    assert [row.action for row in rows][-3:] == ["person.invited", "person.deactivated", "person.reactivated"]
    assert not any("bob" in str(row.model_dump()) for row in rows), "the audit knows pseudonyms alone"
