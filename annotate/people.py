"""The people of a workspace as its leads see them, and their roles; who signs in how is auth.py's business."""

from typing import NamedTuple

from sqlalchemy import func
from sqlmodel import Session, col, select

from annotate.auth import ROLES, Person, Role
from annotate.errors import BadInput, NotAllowed, NotFound
from annotate.ledger import Ledger, audit
from annotate.profiles import ProfileIn, save_profile
from annotate.tables import Annotator, Identity, Label, Profile, Tally

MOST = 500


class Member(NamedTuple):
    """One person: labels in all rounds, and when they last said something (seconds since 1970)."""

    id: str
    name: str
    role: Role
    active: bool
    labels: int
    last_at: float | None
    languages: list[str]
    expertise: list[str]


def roster(session: Session, part: str = "") -> list[Member]:
    """The people whose name has this part, active ones first, by name; at most MOST."""
    labels = select(func.sum(Tally.labels)).where(Tally.annotator_id == Annotator.id).scalar_subquery()
    last = select(func.max(Label.created_at)).where(Label.annotator_id == Annotator.id).scalar_subquery()
    query = (
        select(  # type: ignore[call-overload]
            Annotator.id,
            Identity.name,
            Annotator.role,
            Annotator.active,
            labels,
            last,
            Profile.languages,
            Profile.expertise,
        )
        .join(Identity, col(Identity.annotator_id) == col(Annotator.id))
        .join(Profile, col(Profile.annotator_id) == col(Annotator.id), isouter=True)
        .where(col(Identity.name).icontains(part.strip(), autoescape=True))
        .order_by(col(Annotator.active).desc(), col(Identity.name))
        .limit(MOST)
    )
    return [
        Member(identity, name, role, active, int(count or 0), last_at, languages or [], expertise or [])
        for identity, name, role, active, count, last_at, languages, expertise in session.exec(query)
    ]


def name_of(session: Session, identity: str) -> str:
    """The name of a person by pseudonym; raises NotFound."""
    name = session.exec(select(Identity.name).where(Identity.annotator_id == identity)).first()
    if name is None:
        raise NotFound("there is no such person", where=identity[:64])
    return name


def set_role(ledger: Ledger, identity: str, role: str, *, by: Person) -> None:
    """Give someone another role.

    Raises NotFound, BadInput for an unknown role, NotAllowed for a role or a person above `by`, or for oneself: a
    workspace keeps the admin it has.
    """
    if role not in ROLES:
        raise BadInput(f"there is no role '{role}'", next=f"Use one of: {', '.join(ROLES)}")
    if identity == by.id:
        raise NotAllowed("nobody changes their own role", next="Ask someone else")

    def write(session: Session) -> None:
        person = session.get(Annotator, identity)
        if person is None:
            raise NotFound("there is no such person", where=identity[:64])
        for needed in (person.role, role):
            if needed in ROLES and not by.may(ROLES[ROLES.index(needed)]):
                raise NotAllowed(f"a {by.role} cannot change a {person.role} into {role}", next="Ask an admin")
        if person.role != role:
            person.role = role
            session.add(person)
            audit(session, by.id, "role.set", identity, {"role": role})

    ledger.write(write)


def describe(ledger: Ledger, identity: str, languages: str, expertise: str, *, by: Person) -> None:
    """Write down which languages somebody reads and what they know about, each a list with commas.

    Raises NotFound, NotAllowed for somebody above `by`, BadInput for words that are too many or too long.
    """
    with ledger.read() as session:
        person = session.get(Annotator, identity)
    if person is None:
        raise NotFound("there is no such person", where=identity[:64])
    if person.role in ROLES and not by.may(ROLES[ROLES.index(person.role)]):
        raise NotAllowed(f"a {by.role} cannot change a {person.role}", next="Ask an admin")
    try:
        change = ProfileIn(languages=_words(languages), expertise=_words(expertise))
    except ValueError as error:
        raise BadInput("up to 100 words of up to 200 characters each", where="languages, expertise") from error
    save_profile(ledger, identity, change)


def _words(text: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in text.split(",") if word.strip())
