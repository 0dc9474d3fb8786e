"""One pair as a reviewer sees it: the prompt, the responses as they were written, every vote, and how it came about."""

from datetime import UTC, datetime
from typing import Any

from annotate.pages.markup import Markup, el, join, table
from annotate.reviews import Opened, Vote


def pair(found: Opened, uuid: str, *, named: bool) -> Markup:
    """The whole of it; `uuid` is the label that was opened. named: names instead of pseudonyms."""
    opened = next(vote for vote in found.votes if vote.label.uuid == uuid)
    order = opened.label.order_shown or [response.id for response in found.responses]
    letters = {response: f"{place + 1}" for place, response in enumerate(order)}
    by = opened.name if named else opened.label.annotator_id
    return join(
        el("p", f"A label by {by}, {standing(opened)}.", class_="ld-note", tabindex=-1, data_opened=uuid),
        el(
            "section",
            el("h2", "Prompt"),
            [_turn(turn) for turn in found.prompt.messages],
            class_="ld-section ld-prompt",
        ),
        el(
            "section",
            el("h2", "Responses, in the order shown for this label"),
            el("div", [_response(found, one, letters) for one in order], class_="ld-cards"),
            class_="ld-section",
        ),
        el("section", el("h2", "Votes on this pair"), _votes(found, uuid, letters, named=named), class_="ld-section"),
        el("section", el("h2", "Reviews"), _reviews(found, uuid, named=named), class_="ld-section"),
        el("section", el("h2", "How the pair came about"), _facts(found), class_="ld-section"),
    )


def _turn(turn: dict[str, Any]) -> Markup:
    return el(
        "div",
        el("span", turn.get("role", ""), class_="tl-label"),
        el("div", text_of(turn.get("content")), class_="ld-text", dir="auto"),
        class_="ld-turn",
    )


def text_of(content: object) -> str:
    """A message's text as it was written; what is no text is named."""
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else []
    return "\n".join(str(part.get("text", f"[{part.get('type', 'part')}]")) for part in parts if isinstance(part, dict))


def _response(found: Opened, identity: str, numbers: dict[str, str]) -> Markup:
    response = next((one for one in found.responses if one.id == identity), None)
    if response is None:
        return el("article", el("h3", f"Response {numbers[identity]}"), el("p", "It is not stored.", class_="ld-empty"))
    return el(
        "article",
        el("h3", f"Response {numbers[identity]}"),
        el("div", response.text, class_="ld-text", dir="auto"),
        el("p", f"{response.model or 'model unknown'} · {response.id[:10]}", class_="ld-note"),
        class_="ld-card",
    )


def _votes(found: Opened, uuid: str, numbers: dict[str, str], *, named: bool) -> Markup:
    return table(
        "Votes on this pair",
        ["By", "Said", "Shown as", "#Time", "When", "Standing"],
        [
            (
                join(vote.name if named else vote.label.annotator_id, el("small", " (this one)") if this else None),
                _said(vote, numbers),
                " ".join(numbers.get(response, "?") for response in vote.label.order_shown) or "–",
                "–" if vote.label.active_ms is None else f"{vote.label.active_ms / 1000:,.1f} s",
                join(
                    when(vote.label.created_at),
                    el("small", f" guideline {vote.version}") if vote.version is not None else None,
                ),
                standing(vote),
            )
            for vote in found.votes
            for this in [vote.label.uuid == uuid]
        ],
        empty="There are none.",
    )


def standing(vote: Vote) -> str:
    """Whether a label counts, or what became of it."""
    if vote.label.retracted:
        return "takes one back"
    if vote.superseded_by is not None:
        return "undone" if vote.superseded_by.startswith("undo:") else "revised"
    if vote.label.skip_reason is not None:
        return "skip"
    return "counts" if vote.label.supersedes is None else "counts, revises one"


def _said(vote: Vote, numbers: dict[str, str]) -> Markup:
    label = vote.label
    if label.retracted:
        return join("undo")
    if label.skip_reason is not None:
        return join(f"skipped: {label.skip_reason}")
    words = ranking_words(label.ranking, numbers, label.strength, label.both_bad)
    more = [el("span", flag, class_="ld-mark") for flag in label.flags]
    more += [
        el("span", f"{name}: {_value(value, numbers)}", class_="ld-quote")
        for name, value in sorted(label.criteria.items())
    ]
    more += [el("span", label.rationale, class_="ld-quote")] if label.rationale else []
    more += [
        el("span", f"response {numbers.get(one, '?')} should read: {text}", class_="ld-quote")
        for one, text in sorted(label.edited.items())
    ]
    return join(words, more)


def ranking_words(ranking: list[list[str]], numbers: dict[str, str], strength: int | None, both_bad: bool) -> str:
    """What a ranking says, in words that name the responses by number."""
    if both_bad:
        return "all bad" if sum(map(len, ranking)) > 2 else "both bad"
    if len(ranking) == 1:
        return "a tie"
    order = " over ".join(" = ".join(numbers.get(response, "?") for response in tied) for tied in ranking)
    return order if strength is None else f"{order}, strength {abs(strength)}"


def _value(value: object, numbers: dict[str, str]) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{numbers.get(str(one), one)}: {each}" for one, each in value.items())
    return str(value)


def _reviews(found: Opened, uuid: str, *, named: bool) -> Markup:
    return table(
        "Reviews",
        ["Verdict", "Reason", "By", "About", "When"],
        [
            (
                review.verdict,
                review.reason or "–",
                name if named else review.reviewer_id,
                "this label" if review.label_uuid == uuid else "another label" if review.label_uuid else "the pair",
                when(review.created_at),
            )
            for review, name in found.reviews
        ],
        empty="Nobody has reviewed it yet.",
    )


def _facts(found: Opened) -> Markup:
    one = found.pair
    facts = {
        "Pair": one.id,
        "Round": one.round or "imported",
        "Objective": one.objective,
        "Chosen by": one.strategy,
        "Propensity": "unknown" if one.propensity is None else f"{one.propensity:.3g}",
        "Labels wanted": one.overlap,
        "Split": found.prompt.split,
        "Source": found.prompt.source or one.source or "–",
    }
    return el("dl", [el("div", el("dt", name), el("dd", value)) for name, value in facts.items()], class_="ld-facts")


def when(moment: float) -> Markup:
    """A time, to the minute, in UTC."""
    return el("time", datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%d %H:%M"))
