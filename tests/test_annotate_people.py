"""Leads see who is there and change roles, up to their own."""

import pytest

from annotate import auth, people
from annotate.auth import Person
from annotate.errors import BadInput, NotAllowed, NotFound
from annotate.ledger import Ledger


def signed_in(ledger: Ledger, name: str, role: auth.Role = "annotator") -> Person:
    token = auth.new_token(ledger, name, role)
    with ledger.read() as session:
        person = auth.identify(session, token, "token")
    assert person is not None
    return person


def names(ledger: Ledger, part: str = "") -> list[tuple[str, str, bool]]:
    with ledger.read() as session:
        return [(one.name, one.role, one.active) for one in people.roster(session, part)]


def test_people_are_listed_by_name_those_put_out_last(any_ledger: Ledger) -> None:
    for name in ("Bob", "Ann", "Zoë", "50% off"):
        signed_in(any_ledger, name)
    auth.deactivate(any_ledger, "Ann")
    assert names(any_ledger) == [
        ("50% off", "annotator", True),
        ("Bob", "annotator", True),
        ("Zoë", "annotator", True),
        ("Ann", "annotator", False),
    ]
    assert [name for name, _, _ in names(any_ledger, " bO ")] == ["Bob"]
    assert [name for name, _, _ in names(any_ledger, "%")] == ["50% off"]


def test_a_lead_gives_roles_up_to_their_own(ledger: Ledger) -> None:
    lead, ann = signed_in(ledger, "Lea", "lead"), signed_in(ledger, "Ann")
    people.set_role(ledger, ann.id, "lead", by=lead)
    assert names(ledger, "Ann") == [("Ann", "lead", True)]
    with pytest.raises(NotAllowed, match="cannot change a lead into admin"):
        people.set_role(ledger, ann.id, "admin", by=lead)
    admin = signed_in(ledger, "Ada", "admin")
    with pytest.raises(NotAllowed, match="cannot change a admin into annotator"):
        people.set_role(ledger, admin.id, "annotator", by=lead)
    people.set_role(ledger, ann.id, "admin", by=admin)
    assert names(ledger, "Ann") == [("Ann", "admin", True)]


def test_nobody_changes_their_own_role_and_only_what_there_is(ledger: Ledger) -> None:
    lead = signed_in(ledger, "Lea", "lead")
    with pytest.raises(NotAllowed, match="their own role"):
        people.set_role(ledger, lead.id, "annotator", by=lead)
    with pytest.raises(BadInput, match="no role 'owner'"):
        people.set_role(ledger, lead.id, "owner", by=lead)
    with pytest.raises(NotFound):
        people.set_role(ledger, "a-nobody", "annotator", by=lead)
    with ledger.read() as session, pytest.raises(NotFound):
        people.name_of(session, "a-nobody")


def test_a_change_of_role_stands_in_the_audit(ledger: Ledger) -> None:
    from sqlmodel import select

    from annotate.tables import Audit

    lead, ann = signed_in(ledger, "Lea", "lead"), signed_in(ledger, "Ann")
    for _ in range(2):
        people.set_role(ledger, ann.id, "reviewer", by=lead)
    with ledger.read() as session:
        rows = session.exec(select(Audit).where(Audit.action == "role.set", Audit.subject == ann.id)).all()
    assert [(row.actor, row.detail) for row in rows] == [(lead.id, {"role": "reviewer"})]


def test_languages_and_expertise_are_written_down_by_leads(any_ledger: Ledger) -> None:
    lead, ann = signed_in(any_ledger, "Lea", "lead"), signed_in(any_ledger, "Ann")
    people.describe(any_ledger, ann.id, " German,Arabic ,, German", "tea", by=lead)
    with any_ledger.read() as session:
        one = people.roster(session, "Ann")[0]
    assert (one.languages, one.expertise) == (["German", "Arabic"], ["tea"])
    with pytest.raises(BadInput, match="200 characters"):
        people.describe(any_ledger, ann.id, "x" * 201, "", by=lead)
    with pytest.raises(NotFound):
        people.describe(any_ledger, "a-nobody", "", "", by=lead)
    with pytest.raises(NotAllowed):
        people.describe(any_ledger, signed_in(any_ledger, "Ada", "admin").id, "", "", by=lead)
