"""Tasks of a Label Studio project, as its JSON export holds them: pairwise comparisons and rankings of lists.

Pure, as formats.py. Known are the documented templates: two Text tags compared by Pairwise, a List sorted by Ranker.
Source: https://labelstud.io/templates/generative-pairwise-human-preference, https://labelstud.io/tags/ranker.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from annotate.ballots import MAX_RESPONSES, Answer, Ballot, Ranking, Vote, ends_with_user, messages_in
from annotate.errors import BadInput
from annotate.fields import number_in, short, time_in
from annotate.messages import Messages, digest

PROMPTS = ("prompt", "question", "instruction", "messages", "input")
"""Fields of a task's data that hold the prompt, the first found."""
PAIRS = (("answer1", "answer2"), ("response1", "response2"), ("response_a", "response_b"), ("text1", "text2"))
"""Names of the two texts in the data of a task that nobody has annotated yet."""
_NONE_BETTER = ("none", "equal", "tie", "both")


def is_task(row: Mapping[str, Any]) -> bool:
    """Whether a row is a task of Label Studio's JSON export; older versions call annotations completions."""
    return isinstance(row.get("data"), dict) and isinstance(row.get("annotations", row.get("completions")), list)


def parse_task(row: Mapping[str, Any]) -> Ballot:
    """A task with a vote for each annotation that was not cancelled, each known again in the project's next export.

    Pairwise: the compared tags have the names of the data's fields. Ranker: the list's items are {id, title, body};
    body, or else title, is the response. Ratings and choices beside them become criteria, text areas the rationale;
    lead_time the active time. An annotator is "label-studio#" and the number of the account.
    Raises BadInput saying which field is wrong.
    """
    data = row["data"]
    given = [one for one in row.get("annotations", row.get("completions")) if not _is_cancelled(one)]
    compared = [_compared(data, one, f"annotations: number {place}") for place, one in enumerate(given, 1)]
    names, answers = compared[0][:2] if compared else _unlabelled(data)
    votes = []
    for place, (annotation, (own, _, ranking)) in enumerate(zip(given, compared, strict=True), 1):
        if own != names:
            raise BadInput(f"annotations: number {place} compares {short(own)}, the first {short(names)}")
        criteria, rationale = _beside(annotation["result"], names)
        seconds = number_in(annotation, "lead_time", high=2_000_000)
        votes.append(
            Vote(
                annotator=_annotator(annotation),
                ranking=ranking,
                criteria=criteria,
                rationale=rationale,
                active_ms=None if seconds is None else round(seconds * 1000),
                submitted_at=time_in(annotation, "created_at"),
                key=_key(row, annotation),
            )
        )
    return Ballot(_prompt(data), answers, tuple(votes))


def _is_cancelled(annotation: Any) -> bool:
    if not isinstance(annotation, Mapping):
        raise BadInput(f"annotations: expected objects, found {short(annotation)}")
    return bool(annotation.get("was_cancelled") or annotation.get("skipped"))


def _compared(
    data: Mapping[str, Any], annotation: Mapping[str, Any], where: str
) -> tuple[tuple[str, ...], tuple[Answer, ...], Ranking]:
    """The names of what an annotation compares, the answers, and the ranking."""
    results = annotation.get("result")
    if not isinstance(results, list) or not all(isinstance(one, Mapping) for one in results):
        raise BadInput(f"{where} has no list of results")
    judged = [one for one in results if one.get("type") in ("pairwise", "ranker")]
    if len(judged) != 1 or not isinstance(judged[0].get("value"), Mapping):
        raise BadInput(f"{where} has {len(judged)} results of a Pairwise or Ranker tag, expected one")
    result = judged[0]
    if result["type"] == "ranker":
        return _listed(data, result["value"].get("ranker"), where)
    names = tuple(name.strip() for name in str(result.get("to_name")).split(","))
    if len(names) != 2 or not all(isinstance(data.get(name), str) for name in names):
        raise BadInput(
            f"{where} compares {short(result.get('to_name'))}, which are no two texts of the data; "
            "name the Text tags after the fields that they show"
        )
    selected = result["value"].get("selected")
    rankings: dict[Any, Ranking] = {
        "left": ((0,), (1,)),
        "right": ((1,), (0,)),
        **dict.fromkeys(_NONE_BETTER, ((0, 1),)),
    }
    if not isinstance(selected, str) or selected not in rankings:
        raise BadInput(f"{where}: selected: expected left or right, found {short(selected)}")
    return names, tuple(Answer(data[name]) for name in names), rankings[selected]


def _listed(data: Mapping[str, Any], ranker: Any, where: str) -> tuple[tuple[str, ...], tuple[Answer, ...], Ranking]:
    """As `_compared`, of a Ranker: one list in order, and perhaps the items left aside, which share the last place."""
    buckets = ranker if isinstance(ranker, Mapping) else {"rank": ranker}
    aside = buckets.get("_", [])
    lists = [items for name, items in buckets.items() if name != "_"]
    if len(lists) != 1 or not isinstance(lists[0], list) or not isinstance(aside, list):
        raise BadInput(f"{where}: ranker: expected one list in order, found {short(ranker)}; buckets say no order")
    order = [*lists[0], *aside]
    for items in data.values():
        names, answers = _items(items)
        if names and sorted(map(str, order)) == sorted(names):
            tiers: list[tuple[int, ...]] = [(names.index(str(one)),) for one in lists[0]]
            if aside:
                tiers.append(tuple(sorted(names.index(str(one)) for one in aside)))
            return names, answers, tuple(tiers)
    raise BadInput(f"{where}: ranker: no list of the data has just the items {short(order)}")


def _items(items: Any) -> tuple[tuple[str, ...], tuple[Answer, ...]]:
    """Ids and answers of a List tag's items, empty for what is no such list."""
    if not isinstance(items, list) or not 2 <= len(items) <= MAX_RESPONSES:
        return (), ()
    names, answers = [], []
    for item in items:
        if not isinstance(item, Mapping) or item.get("id") is None:
            return (), ()
        body, title = item.get("body"), item.get("title")
        text = title if body is None else body
        if not isinstance(text, str):
            return (), ()
        names.append(str(item["id"]))
        answers.append(Answer(text, title if body is not None and isinstance(title, str) else ""))
    return (tuple(names), tuple(answers)) if len(set(names)) == len(names) else ((), ())


def _unlabelled(data: Mapping[str, Any]) -> tuple[tuple[str, ...], tuple[Answer, ...]]:
    for pair in PAIRS:
        if all(isinstance(data.get(name), str) for name in pair):
            return pair, tuple(Answer(data[name]) for name in pair)
    for items in data.values():
        names, answers = _items(items)
        if names:
            return names, answers
    raise BadInput("data: neither two texts such as answer1 and answer2 nor a list of items")


def _beside(results: Sequence[Mapping[str, Any]], names: Sequence[str]) -> tuple[dict[str, Any], str]:
    """The criteria and the rationale that an annotation has beside its judgment."""
    criteria: dict[str, Any] = {}
    texts = []
    for result in results:
        value, name = result.get("value"), str(result.get("from_name"))
        if not isinstance(value, Mapping):
            continue
        if isinstance(value.get("text"), list):
            texts += [text for text in value["text"] if isinstance(text, str)]
            continue
        said = value.get("rating", value.get("number"))
        if isinstance(choices := value.get("choices"), list):
            said = ", ".join(map(str, choices))
        if said is None:
            continue
        if (about := str(result.get("to_name"))) in names:
            criteria.setdefault(name, {})[list(names).index(about)] = said
        else:
            criteria[name] = said
    return criteria, "\n\n".join(texts)


def _annotator(annotation: Mapping[str, Any]) -> str:
    """A pseudonym: the number of the account, or a hash of its address, which is personal data."""
    who = annotation.get("completed_by")
    if isinstance(who, Mapping):
        who = who.get("id") if who.get("id") is not None else digest([who.get("email")], 8)
    if isinstance(who, bool) or not isinstance(who, int | str):
        raise BadInput(f"annotations: completed_by: expected an account, found {short(who)}")
    return f"label-studio#{digest([who], 8) if '@' in str(who) else who}"


def _key(row: Mapping[str, Any], annotation: Mapping[str, Any]) -> str:
    own = annotation.get("unique_id") or annotation.get("id")
    return "" if own is None else digest(["label-studio", row.get("project"), row.get("id"), own], 32)


def _prompt(data: Mapping[str, Any]) -> Messages:
    name = next((name for name in PROMPTS if data.get(name) is not None), None)
    if name is None:
        raise BadInput(f"data: no prompt: expected one of {', '.join(PROMPTS)}")
    return ends_with_user(messages_in(data[name], f"data: {name}"), f"data: {name}")
