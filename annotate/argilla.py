"""Records of an Argilla dataset, of version 1 and 2, nested and flat, with a ranking, rating or label question.

Pure, as formats.py. Source: https://docs.argilla.io/latest/how_to_guides/import_export/ and
https://docs.v1.argilla.io/en/latest/practical_guides/export_dataset.html.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from annotate.ballots import MAX_RESPONSES, Answer, Ballot, Ranking, Vote, ends_with_user, messages_in, ranked
from annotate.errors import BadInput
from annotate.fields import short
from annotate.messages import digest

PROMPTS = ("prompt", "instruction", "question", "input", "messages", "conversation", "chat")
"""Fields of a record that hold the prompt, the first found."""
_TIES = ("tie", "equal", "both", "same")


class Reply(NamedTuple):
    """What one user answered to one question."""

    user: str
    question: str
    value: Any
    status: str


def is_record(row: Mapping[str, Any]) -> bool:
    """Whether a row is a record: nested ({fields, responses}), or flat, with a column of replies for each question."""
    return (isinstance(row.get("fields"), dict) and "responses" in row) or any(
        name.endswith(".responses") or _is_column(value) for name, value in row.items()
    )


def parse_record(row: Mapping[str, Any]) -> Ballot:
    """A record with a vote for each user's submitted reply, each known again in the data set's next export.

    The other text fields beside the prompt are the responses. A ranking question orders them, a label question names
    the better one, rating questions (one for each response, told by the number in their names) rate them; other
    ratings and labels become criteria, texts the rationale.
    Raises BadInput saying which field is wrong.
    """
    fields = row["fields"] if isinstance(row.get("fields"), Mapping) else _flat_fields(row)
    asked = next((name for name in PROMPTS if fields.get(name) is not None), None)
    if asked is None:
        raise BadInput(f"fields: no prompt: expected one of {', '.join(PROMPTS)}")
    prompt = ends_with_user(messages_in(fields[asked], f"fields: {asked}"), f"fields: {asked}")
    names = [name for name, value in fields.items() if name != asked and isinstance(value, str) and _is_answer(name)]
    if not 2 <= len(names) <= MAX_RESPONSES:
        raise BadInput(
            f"fields: expected 2 to {MAX_RESPONSES} responses with a number in their names, found {short(names)}"
        )
    replies: dict[str, dict[str, Any]] = {}
    for reply in _replies(row):
        if reply.status == "submitted":
            replies.setdefault(reply.user, {})[reply.question] = reply.value
    record = row.get("_server_id") or row.get("id") or row.get("external_id") or digest(fields)
    votes = tuple(_vote(user, said, names, record) for user, said in replies.items())
    return Ballot(prompt, tuple(Answer(fields[name]) for name in names), votes)


def _vote(user: str, said: Mapping[str, Any], names: list[str], record: Any) -> Vote:
    places = {_plain(name): place for place, name in enumerate(names)}
    numbers = {_number(name): place for place, name in enumerate(names)}
    rankings: dict[str, Ranking] = {}
    criteria: dict[str, Any] = {}
    texts = []
    rated: dict[int, float] = {}
    for question, value in said.items():
        if (found := _ranking(value, places, question)) is not None:
            rankings[question] = found
        elif isinstance(value, int | float) and not isinstance(value, bool):
            place = numbers.get(_number(question)) if _number(question) else None
            if place is None:
                criteria[question] = value
            else:
                criteria.setdefault(_NUMBER.sub("", question).strip("-_ ") or "rating", {})[place] = value
                rated[place] = float(value)
        elif isinstance(value, str):
            texts.append(value)
        elif isinstance(value, list) and all(isinstance(one, str) for one in value):
            criteria[question] = ", ".join(value)
        elif value is not None:
            raise BadInput(f"{question}: {short(value)} is no answer to a ranking, rating, label or text question")
    if len(rankings) > 1:
        raise BadInput(f"several questions rank the responses: {', '.join(rankings)}; keep one of them")
    if not rankings and len(rated) < len(names):
        raise BadInput("no question ranks the responses, and not every one has a rating")
    ranking = next(iter(rankings.values())) if rankings else ranked([rated[place] for place in range(len(names))])
    return Vote(
        annotator=user,
        ranking=ranking,
        criteria=criteria,
        rationale="\n\n".join(texts),
        key=digest(["argilla", record, user], 32),
    )


def _ranking(value: Any, places: Mapping[str, int], question: str) -> Ranking | None:
    """The ranking that a value gives; None when it is the answer to a question of another kind."""
    if isinstance(value, Mapping) and {"rank", "value"} <= value.keys():  # datasets' form of a list of objects
        ranks, values = value["rank"], value["value"]
        if not isinstance(ranks, list) or not isinstance(values, list) or len(ranks) != len(values):
            raise BadInput(f"{question}: as many ranks as values are needed")
        value = [{"rank": rank, "value": one} for rank, one in zip(ranks, values, strict=True)]
    if isinstance(value, str):
        if _plain(value) in places:
            best = places[_plain(value)]
            return ((best,), tuple(place for place in range(len(places)) if place != best))
        return (tuple(range(len(places))),) if _plain(value) in _TIES else None
    if not isinstance(value, list) or not value:
        return None
    ranks = [one.get("rank") if isinstance(one, Mapping) else place for place, one in enumerate(value)]
    named = [one.get("value") if isinstance(one, Mapping) else one for one in value]
    if not isinstance(value[0], Mapping) and not all(isinstance(one, str) and _plain(one) in places for one in named):
        return None  # several labels
    if not all(isinstance(one, str) and _plain(one) in places for one in named):
        raise BadInput(f"{question}: {short(named)} are not the names of the responses")
    if not all(isinstance(rank, int) and not isinstance(rank, bool) for rank in ranks):
        raise BadInput(f"{question}: a rank is a whole number")
    order = {places[_plain(one)]: -float(rank) for rank, one in zip(ranks, named, strict=True) if abs(rank) < 1000}
    if len(order) != len(places) or len(named) != len(places):
        raise BadInput(f"{question}: expected every response exactly once, found {short(named)}")
    return ranked([order[place] for place in range(len(places))])


def _replies(row: Mapping[str, Any]) -> Iterator[Reply]:
    """What was answered, in any of the four forms."""
    nested = row.get("responses") if isinstance(row.get("fields"), Mapping) else None
    if isinstance(nested, list):  # version 1: one response a user
        for one in nested:
            values = one.get("values") if isinstance(one, Mapping) else None
            if values is None and isinstance(one, Mapping) and one.get("status", "submitted") != "submitted":
                continue
            if not isinstance(values, Mapping):
                raise BadInput(f"responses: expected {{user_id, values}}, found {short(one)}")
            for question, said in values.items():
                yield Reply(_user(one), question, _unwrapped(said), str(one.get("status", "submitted")))
    elif isinstance(nested, Mapping):  # version 2: the replies to each question
        for question, replies in nested.items():
            yield from _column(question, replies)
    elif nested is None:
        for name, value in row.items():
            if name.endswith(".responses") and value is not None:
                users, statuses = row.get(f"{name}.users"), row.get(f"{name}.status")
                yield from _zipped(name.removesuffix(".responses"), users, value, statuses)
            elif _is_column(value):
                yield from _column(name, value)
    else:
        raise BadInput(f"responses: expected a list or an object, found {short(nested)}")


def _column(question: str, replies: Any) -> Iterator[Reply]:
    if isinstance(replies, Mapping):  # datasets' form of a list of objects
        yield from _zipped(question, replies.get("user_id"), replies.get("value"), replies.get("status"))
        return
    if not isinstance(replies, list) or not all(isinstance(one, Mapping) and "value" in one for one in replies):
        raise BadInput(f"{question}: expected a list of {{user_id, value}}, found {short(replies)}")
    for one in replies:
        yield Reply(_user(one), question, one["value"], str(one.get("status") or "submitted"))


def _zipped(question: str, users: Any, values: Any, statuses: Any) -> Iterator[Reply]:
    if not isinstance(users, list) or not isinstance(values, list) or len(users) != len(values):
        raise BadInput(f"{question}: as many users as replies are needed")
    given = statuses if isinstance(statuses, list) and len(statuses) == len(values) else [None] * len(values)
    for user, value, status in zip(users, values, given, strict=True):
        yield Reply(_user({"user_id": user}), question, value, str(status or "submitted"))


def _is_column(value: Any) -> bool:
    if isinstance(value, Mapping):
        return {"user_id", "value"} <= value.keys()
    return (
        isinstance(value, list) and bool(value) and all(isinstance(one, Mapping) and "user_id" in one for one in value)
    )


def _flat_fields(row: Mapping[str, Any]) -> dict[str, Any]:
    about = re.compile(r"\.(responses|suggestion)|-suggestion|^(id|_server_id|external_id|status|metadata)$")
    return {name: value for name, value in row.items() if not about.search(name) and not _is_column(value)}


def _user(reply: Mapping[str, Any]) -> str:
    user = reply.get("user_id")
    if not isinstance(user, str) or not user.strip():
        raise BadInput(f"user_id: expected the id of an account, found {short(user)}")
    return user


def _unwrapped(said: Any) -> Any:
    return said["value"] if isinstance(said, Mapping) and "value" in said and "rank" not in said else said


def _is_answer(name: str) -> bool:
    """Whether a field is a response: its name ends with a number or a letter of its own."""
    return bool(re.search(r"(?:\d+|[-_ ][a-h])$", name, re.IGNORECASE))


def _number(name: str) -> str:
    found = _NUMBER.search(name)
    return found.group().strip("-_ ").lower() if found else ""


_NUMBER = re.compile(r"\d+|[-_ ][a-h]$", re.IGNORECASE)


def _plain(name: Any) -> str:
    """A name as compared: the value "response-1" of a question is the field "response_1"."""
    return re.sub(r"[^a-z0-9]", "", str(name).lower())
