"""Signing in: who gets in, for how long, and what is kept of secrets."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlmodel import col, select, update

from annotate import auth
from annotate.errors import BadInput, NotFound
from annotate.ledger import Ledger
from annotate.tables import Annotator, Identity, Token


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
        auth.set_password(ledger, "bob", "12345678")


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


def test_failures_are_counted_for_each_key_and_forgotten_in_time() -> None:
    throttle = auth.Throttle(limit=3, seconds=60)
    for at in (0, 1, 2):
        throttle.check("ann", now=at)
        throttle.failed("ann", now=at)
    with pytest.raises(auth.TooManyAttempts, match="in 57 seconds"):
        throttle.check("ann", now=3)
    throttle.check("bob", now=3)
    throttle.check("ann", now=61)


def test_the_throttle_forgets_keys_that_are_past() -> None:
    throttle = auth.Throttle(limit=1, seconds=1)
    for number in range(10_001):
        throttle.failed(str(number), now=0)
    throttle.failed("late", now=10)
    assert list(throttle.failures) == ["late"]
