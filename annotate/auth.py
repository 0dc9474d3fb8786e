"""Who is calling: people, passwords, bearer tokens and browser sessions, secrets kept only as hashes.

There are no default accounts and nobody can sign up: people are made on the command line or invited by a link, the
first by starting the server. Which route needs which role is said in guard.py.
"""

import hashlib
import secrets
import threading
import time
import unicodedata
from collections import deque
from dataclasses import dataclass, field
from functools import cache
from typing import Literal, cast, get_args

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from sqlalchemy import ColumnElement, or_
from sqlmodel import Session, col, select, update

from annotate.errors import BadInput, Conflict, NotAllowed, NotFound
from annotate.ledger import Ledger, audit
from annotate.tables import Annotator, Identity, Token

Role = Literal["annotator", "reviewer", "lead", "admin"]
ROLES: tuple[Role, ...] = get_args(Role)
"""From least to most: each may do what the ones before it may."""

SESSION_SECONDS = 30 * 24 * 3600.0
LINK_SECONDS = 3600.0
INVITE_SECONDS = 7 * 24 * 3600.0
PASSWORD_LENGTH = range(8, 1025)

Kind = Literal["token", "session", "link"]


class NotSignedIn(NotAllowed):
    """The request carries no valid session or token, or the name and password do not fit."""


class TooManyAttempts(NotAllowed):
    """Too many failed sign-ins; `seconds` says how long to wait."""

    def __init__(self, seconds: float) -> None:
        self.seconds = max(1, round(seconds))
        super().__init__("too many failed sign-ins", next=f"Try again in {self.seconds} seconds")


@dataclass(frozen=True)
class Person:
    """Someone who is signed in: `id` is the pseudonym that labels carry, `name` is shown to themselves only."""

    id: str
    name: str
    role: Role

    def may(self, needed: Role) -> bool:
        """Whether this person's role is `needed` or one above it."""
        return ROLES.index(self.role) >= ROLES.index(needed)


def new_token(ledger: Ledger, name: str, role: Role | None = None) -> str:
    """A new bearer token for `name`, to be shown once; someone new is added as `role`, by default an annotator.

    A role given for someone known becomes their role. Raises BadInput for an unusable name or an unknown role.
    """
    if role is not None and role not in ROLES:
        raise BadInput(f"there is no role '{role}'", next=f"Use one of: {', '.join(ROLES)}")

    def write(session: Session) -> str:
        person = _find_or_add(session, name, role or "annotator")
        if role is not None and person.role != role:
            person.role = role
            session.add(person)
            audit(session, person.id, "role.set", person.id, {"role": role})
        audit(session, person.id, "token.made", person.id, {})
        return _issue(session, person.id, "token", None)

    return ledger.write(write)


def invite(ledger: Ledger, name: str, role: Role | None = None, *, by: Person | None = None) -> str:
    """The secret of a link that signs `name` in once within a week; someone new is added, by default an annotator.

    A role given for someone known becomes their role. by: who invites; nobody gives a role above their own, or changes
    who stands above them, None is the command line. Raises BadInput as `new_token` does, NotAllowed, and Conflict for
    someone who was put out.
    """
    if role is not None and role not in ROLES:
        raise BadInput(f"there is no role '{role}'", next=f"Use one of: {', '.join(ROLES)}")

    def write(session: Session) -> str:
        if by is not None and not by.may(role or "annotator"):
            raise NotAllowed(f"a {by.role} cannot invite someone as {role}", next="Ask someone with that role")
        person = _find_or_add(session, name, role or "annotator")
        _check_above(person, by)
        if not person.active:
            raise Conflict(f"'{clean(name)}' was put out", next=f"Run: trueloop annotate --reactivate '{clean(name)}'")
        actor = by.id if by else person.id
        if role is not None and person.role != role:
            person.role = role
            session.add(person)
            audit(session, actor, "role.set", person.id, {"role": role})
        audit(session, actor, "person.invited", person.id, {})
        return _issue(session, person.id, "link", INVITE_SECONDS)

    return ledger.write(write)


def deactivate(ledger: Ledger, name: str, *, by: Person | None = None) -> None:
    """Put someone out: tokens, sessions and links end at once, streams within a second; their labels stay.

    Raises NotFound for an unknown name, NotAllowed for someone above `by`, Conflict for the last active admin.
    """

    def write(session: Session) -> None:
        person = _known(session, name)
        _check_above(person, by)
        admins = select(Annotator.id).where(Annotator.role == "admin", col(Annotator.active), Annotator.id != person.id)
        if person.role == "admin" and person.active and session.exec(admins).first() is None:
            raise Conflict("the last admin cannot be put out", next="Invite another one first")
        person.active = False
        session.add(person)
        _revoke(session, col(Token.annotator_id) == person.id)
        audit(session, by.id if by else person.id, "person.deactivated", person.id, {})

    ledger.write(write)


def reactivate(ledger: Ledger, name: str, *, by: Person | None = None) -> None:
    """Let someone in again who was put out; their old tokens and sessions stay ended. Raises as `deactivate` does."""

    def write(session: Session) -> None:
        person = _known(session, name)
        _check_above(person, by)
        person.active = True
        session.add(person)
        audit(session, by.id if by else person.id, "person.reactivated", person.id, {})

    ledger.write(write)


def set_password(ledger: Ledger, name: str, password: str) -> None:
    """Give someone a password and end their browser sessions; raises NotFound for an unknown name, BadInput."""
    _check_password(password)
    password_hash = _hash(password)
    ledger.write(lambda session: _set_password(session, _known(session, name).id, password_hash))


def change_password(ledger: Ledger, person: Person, current: str, password: str) -> None:
    """Set one's own password and end one's sessions; the current one is asked for where there is one.

    Raises NotAllowed when the current one does not fit, BadInput for a new one that is too short, long or common.
    """
    _check_password(password)
    with ledger.read() as session:
        query = select(Identity.password_hash).where(Identity.annotator_id == person.id)
        old = session.exec(query).first()
    if old is not None and not _matches(old, current[: PASSWORD_LENGTH.stop]):
        raise NotAllowed("the current password does not fit", where="current")
    password_hash = _hash(password)
    ledger.write(lambda session: _set_password(session, person.id, password_hash))


def login(ledger: Ledger, name: str, password: str) -> str:
    """A new session's secret, for the cookie. Raises NotSignedIn alike for an unknown name and a wrong password."""
    with ledger.read() as session:
        identity = _identity(session, name)
        known = identity is not None and identity.password_hash is not None
        password_hash = identity.password_hash if identity and identity.password_hash else _nobodys_hash()
        annotator_id = identity.annotator_id if identity else ""
        active = known and session.exec(select(Annotator.active).where(Annotator.id == annotator_id)).first()
    if not _matches(password_hash, password[: PASSWORD_LENGTH.stop]) or not active:
        raise NotSignedIn("the name and password do not fit", next="Try again, or ask for a new sign-in token")
    renewed = _hash(password) if _HASHER.check_needs_rehash(password_hash) else None

    def write(session: Session) -> str:
        if renewed is not None:
            session.exec(
                update(Identity).where(col(Identity.annotator_id) == annotator_id).values(password_hash=renewed)
            )
        return _issue(session, annotator_id, "session", SESSION_SECONDS)

    return ledger.write(write)


def login_by_token(ledger: Ledger, secret: str) -> str:
    """A new session's secret for who holds a bearer token or an unused sign-in link, which is used up.

    Raises NotSignedIn when the token or link is unknown, used or expired.
    """

    def write(session: Session) -> str:
        for kind in ("link", "token"):
            person = identify(session, secret, kind)
            if person is not None:
                if kind == "link":
                    _revoke(session, col(Token.hash) == _digest(secret))
                return _issue(session, person.id, "session", SESSION_SECONDS)
        raise NotSignedIn(
            "this sign-in link or token was used already, has expired, or was never valid",
            next="Start the server again for a new link, or run: trueloop annotate --new-token NAME",
        )

    return ledger.write(write)


def sign_in_link(ledger: Ledger) -> tuple[str, str]:
    """The first admin's name and the secret of a link that signs them in once, within an hour.

    A ledger without an admin gets one, named "admin", who has no password.
    """

    def write(session: Session) -> tuple[str, str]:
        query = (
            select(Identity)
            .join(Annotator, col(Annotator.id) == col(Identity.annotator_id))
            .where(Annotator.role == "admin", col(Annotator.active))
            .order_by(col(Annotator.created_at), col(Annotator.id))
        )
        identity = session.exec(query).first()
        if identity is None:
            person = _find_or_add(session, "admin", "admin")
            person.role = "admin"
            session.add(person)
            name, annotator_id = "admin", person.id
        else:
            name, annotator_id = identity.name, identity.annotator_id
        return name, _issue(session, annotator_id, "link", LINK_SECONDS)

    return ledger.write(write)


def logout(ledger: Ledger, secret: str) -> None:
    """End the session with this secret; an unknown one is ended already."""
    ledger.write(lambda session: _revoke(session, col(Token.hash) == _digest(secret)))


def identify(session: Session, secret: str, kind: Kind, *, now: float | None = None) -> Person | None:
    """Who holds this secret, None when it is unknown, of another kind, expired or revoked, or its owner inactive.

    Looked up anew each time, so that whoever is revoked is out with the very next request.
    """
    query = (
        select(Annotator.id, Annotator.role, Identity.name)
        .join(Token, col(Token.annotator_id) == col(Annotator.id))
        .join(Identity, col(Identity.annotator_id) == col(Annotator.id), isouter=True)
        .where(
            Token.hash == _digest(secret),
            Token.kind == kind,
            col(Token.revoked_at).is_(None),
            or_(col(Token.expires_at).is_(None), col(Token.expires_at) > (time.time() if now is None else now)),
            col(Annotator.active),
        )
    )
    row = session.exec(query).first()
    if row is None or row[1] not in ROLES:
        return None
    return Person(id=row[0], name=row[2] or row[0], role=row[1])


@dataclass
class Throttle:
    """Counts tries of a key in memory: `limit` within `seconds`, then TooManyAttempts until the oldest is past."""

    limit: int
    seconds: float
    tries: dict[str, deque[float]] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def take(self, key: str, *, now: float | None = None) -> None:
        """Count one try before its outcome is known, so that many at once are counted too; raise when used up.

        Forgets keys whose tries are all past, so that memory stays bounded.
        """
        now = time.monotonic() if now is None else now
        with self.lock:
            if len(self.tries) > 10_000:
                for other in list(self.tries):
                    self._recent(other, now)
            times = self._recent(key, now)
            if len(times) >= self.limit:
                raise TooManyAttempts(times[0] + self.seconds - now)
            self.tries[key] = times
            times.append(now)

    def forgive(self, key: str) -> None:
        """The last try was no failure: it does not count."""
        with self.lock:
            if self.tries.get(key):
                self.tries[key].pop()

    def _recent(self, key: str, now: float) -> deque[float]:
        times = self.tries.get(key, deque())
        while times and times[0] <= now - self.seconds:
            times.popleft()
        if not times:
            self.tries.pop(key, None)
        return times


_HASHER = PasswordHasher()
_HASHING = threading.BoundedSemaphore(2)
"""Each hash takes 64 MiB: at most two at a time, whatever the number of requests."""


def _hash(password: str) -> str:
    with _HASHING:
        return _HASHER.hash(password)


@cache
def _nobodys_hash() -> str:
    """Verified for an unknown name, so that it takes as long as a wrong password."""
    return _hash(secrets.token_urlsafe())


def _matches(password_hash: str, password: str) -> bool:
    try:
        with _HASHING:
            return _HASHER.verify(password_hash, password)
    except (VerificationError, InvalidHashError):
        return False


def _check_password(password: str) -> None:
    if len(password) not in PASSWORD_LENGTH:
        raise BadInput(f"a password has {PASSWORD_LENGTH.start} to {PASSWORD_LENGTH.stop - 1} characters")
    if password.lower() in _common_passwords():
        raise BadInput("this password is among the most common ones", next="Take a few words that nobody would guess")


@cache
def _common_passwords() -> frozenset[str]:
    from zxcvbn.frequency_lists import FREQUENCY_LISTS  # 30,000, from lists that were published after thefts

    return frozenset(FREQUENCY_LISTS["passwords"])


def _set_password(session: Session, annotator_id: str, password_hash: str) -> None:
    session.exec(update(Identity).where(col(Identity.annotator_id) == annotator_id).values(password_hash=password_hash))
    _revoke(session, col(Token.annotator_id) == annotator_id, col(Token.kind) == "session")
    audit(session, annotator_id, "password.set", annotator_id, {})


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def _issue(session: Session, annotator_id: str, kind: Kind, seconds: float | None) -> str:
    secret = secrets.token_urlsafe(32)
    now = time.time()
    expires_at = None if seconds is None else now + seconds
    session.add(
        Token(hash=_digest(secret), annotator_id=annotator_id, kind=kind, created_at=now, expires_at=expires_at)
    )
    session.flush()
    return secret


def _revoke(session: Session, *conditions: ColumnElement[bool]) -> None:
    query = update(Token).where(*conditions, col(Token.revoked_at).is_(None)).values(revoked_at=time.time())
    session.exec(query)


def _identity(session: Session, name: str) -> Identity | None:
    return session.exec(select(Identity).where(Identity.name == clean(name))).first()


def _known(session: Session, name: str) -> Annotator:
    identity = _identity(session, name)
    person = session.get(Annotator, identity.annotator_id) if identity else None
    if person is None:
        raise NotFound(f"nobody is called '{clean(name)}'", next=f"Run: trueloop annotate --new-token '{clean(name)}'")
    return person


def _check_above(person: Annotator, by: Person | None) -> None:
    if by is not None and not by.may(cast(Role, person.role)):
        raise NotAllowed(f"a {by.role} cannot change a {person.role}", next="Ask someone with that role")


def _find_or_add(session: Session, name: str, role: Role) -> Annotator:
    name = clean(name)
    if not 1 <= len(name) <= 80 or not name.isprintable():
        raise BadInput("a name has 1 to 80 printable characters")
    identity = _identity(session, name)
    if identity is None:
        pseudonym = f"a-{secrets.token_hex(5)}"
        session.add(Annotator(id=pseudonym, role=role, created_at=time.time()))
        session.flush()
        session.add(Identity(annotator_id=pseudonym, name=name))
        session.flush()
        audit(session, pseudonym, "person.added", pseudonym, {"role": role})
        identity = _identity(session, name)
    assert identity is not None, "the identity was just added"
    person = session.get(Annotator, identity.annotator_id)
    assert person is not None, "an identity belongs to an annotator by foreign key"
    return person


def clean(name: str) -> str:
    """The one spelling of a name: white space and composed letters made alike."""
    return " ".join(unicodedata.normalize("NFC", name).split())
