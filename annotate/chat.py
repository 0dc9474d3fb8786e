"""Live conversations: an annotator's own prompt, fresh responses of blinded models, judged like any other pair.

The models are the caller's (align/respond.py); here their answers become a prompt, responses and a pair of facts, and a
slot for the one who asked. Which model wrote which response stands in the ledger and is not shown.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from sqlmodel import Session, col, select

from annotate import gold, rules, slots
from annotate import statements as sql
from annotate.errors import Conflict, NotAllowed, NotFound
from annotate.groups import Groups
from annotate.ledger import Ledger
from annotate.messages import Message, Messages, as_messages, digest
from annotate.offers import LEASE_SECONDS, MOST_TASKS
from annotate.pairs import CandidatePair
from annotate.prompts import NewPrompt, PromptsSection, place_prompts
from annotate.slots import Person, Task
from annotate.tables import Label, Pair, Prompt, Response, Slot


class Answer(NamedTuple):
    """One model's answer, and how it was sampled."""

    text: str
    model: str
    sampling: dict[str, Any]
    logprob: float | None = None
    tokens: int | None = None
    finished: bool | None = None


Responder = Callable[[Messages], list[Answer]]
"""Fresh answers to a conversation, at least two; raises Conflict with the next command when no model is there."""


@dataclass
class Chat:
    """Conversations on a ledger; what it knows of near-duplicate prompts is read once."""

    ledger: Ledger
    responder: Responder | None
    section: PromptsSection = field(default_factory=PromptsSection)
    groups: Groups = field(init=False)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        # A near-duplicate is kept: what somebody asks is answered.
        self.section = self.section.model_copy(update={"near_duplicates": "keep"})
        self.groups = Groups(self.section.near)

    def ask(self, annotator_id: str, messages: Messages) -> Task:
        """A task of fresh responses to a conversation, leased to who asked.

        Raises Conflict when no model answers, a limit is reached, practice comes first or the answers were met before.
        """
        if self.responder is None:
            raise Conflict("no model answers here", next="Run: trueloop advance, then trueloop annotate")
        self.ledger.write(lambda session: _check(session, annotator_id))
        answers = self.responder(messages)
        with self.lock:
            return self.ledger.write(lambda session: self._store(session, annotator_id, messages, answers))

    def _store(self, session: Session, annotator_id: str, messages: Messages, answers: list[Answer]) -> Task:
        at = time.time()
        who = _check(session, annotator_id)
        [prompt] = place_prompts(session, [NewPrompt(messages, "chat")], self.section, self.groups, now=at).ids
        rows = {digest([prompt, one.text, one.model]): one for one in answers}
        if len({one.text for one in answers}) < len(answers):
            raise Conflict("the models answered alike", next="Ask again, or ask something else")
        for identity, one in rows.items():
            if session.get(Response, identity) is None:
                session.add(
                    Response(
                        id=identity,
                        prompt_id=prompt,
                        artifact_id=one.model,
                        source="chat",
                        created_at=at,
                        **one._asdict(),
                    )
                )
        session.flush()
        connection = session.connection()
        round = connection.execute(sql.NEWEST_ROUND).scalar() or 1
        objective = who.asked.settings.objective
        pair = CandidatePair(prompt, tuple(rows), round, objective, strategy="chat", overlap=0, source="chat")
        if not slots.add_pairs(session, [pair], now=at):
            raise Conflict("these answers were judged before", next="Ask again")
        slot = connection.execute(sql.GIVE_GOLD, {"pair": pair.id}).scalar_one()
        return slots.lease(session, [slot], who.id, who.asked, now=at, until=at + LEASE_SECONDS)[0]


def conversation_after(session: Session, annotator_id: str, slot: int, text: str) -> Messages:
    """The conversation of a slot, the response that this person preferred (as they edited it), and what they say next.

    Raises NotFound when they have no judgment there, NotAllowed when the slot is somebody else's.
    """
    place = session.get(Slot, slot)
    if place is None:
        raise NotFound(f"there is no slot {slot}")
    if place.annotator_id != annotator_id:
        raise NotAllowed("this slot is somebody else's", where=f"slot {slot}")
    query = select(Label).where(Label.slot_id == slot, Label.annotator_id == annotator_id)
    newest = session.exec(query.order_by(col(Label.created_at).desc(), col(Label.uuid).desc())).first()
    if newest is None or not newest.ranking:
        raise NotFound("you have not judged this one yet", where=f"slot {slot}", next="Judge it, then go on")
    best = newest.ranking[0][0]
    response, pair = session.get(Response, best), session.get(Pair, place.pair_id)
    prompt = session.get(Prompt, pair.prompt_id) if pair else None
    assert response is not None and prompt is not None, "a label names what is stored"
    said = newest.edited.get(best, response.text)
    turns = (Message(role="assistant", content=said), Message(role="user", content=text))
    return (*as_messages(prompt.messages), *turns)


def _check(session: Session, annotator_id: str) -> Person:
    """The person, unless the campaign's rules keep them from a further task."""
    at = time.time()
    who = slots.person(session, annotator_id, at)
    held = len(slots.held(session, who, MOST_TASKS))
    room, reason = rules.room(session, who.id, who.asked.settings, at) if who.kind == "human" else (None, None)
    if held >= MOST_TASKS or (room is not None and room <= held):
        raise Conflict(f"no further task now: {reason or 'too many are held'}", next="Judge those you have")
    if who.kind == "human" and not gold.qualification(session, who.id, who.asked.settings).passed:
        raise Conflict("practice comes first", next="Judge the practice items")
    return who
