"""The campaign: presets, versions, what a judgment may say under it, and who wrote it."""

from typing import Any

import pytest
from ledgers import fill, judgment
from pydantic import ValidationError
from sqlmodel import select

from annotate import campaign, queue
from annotate.campaign import PRESETS, CampaignSection, Criterion
from annotate.errors import BadInput
from annotate.judgment import check_asked
from annotate.ledger import Ledger
from annotate.tables import Campaign, Guideline, Label


def set_(ledger: Ledger, author: str = "lead", now: float | None = None, **fields: Any) -> str:
    section = CampaignSection(**fields)
    return ledger.write(lambda session: campaign.set_campaign(session, section, author, now=now))


def in_force(ledger: Ledger) -> campaign.InForce:
    with ledger.read() as session:
        return campaign.in_force(session)


def two(**fields: Any) -> queue.Judgment:
    return queue.Judgment.model_validate({"uuid": "a-judgment", "slot": 1, "ranking": [["x"], ["y"]], **fields})


# ------------------------------------------------------------------------------------------------------ presets


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_fills_what_is_not_given_and_nothing_else(name: Any) -> None:
    whole = CampaignSection(preset=name)
    assert {field: getattr(whole, field) for field in PRESETS[name]} == PRESETS[name]
    own = CampaignSection(preset=name, grades=1, ties=None)  # type: ignore[arg-type]
    assert (own.grades, own.ties) == (1, PRESETS[name]["ties"])
    assert CampaignSection.model_validate(whole.model_dump(mode="json")) == whole


def test_presets_differ_in_what_they_are_known_for() -> None:
    asked = {name: CampaignSection(preset=name) for name in ("helpsteer3", "instructgpt-ranking", "safety")}  # type: ignore[arg-type]
    assert asked["helpsteer3"].rationale == "demanded" and asked["helpsteer3"].grades == 3
    assert asked["instructgpt-ranking"].grades == 0 and asked["instructgpt-ranking"].criteria[0].most == 7
    assert asked["safety"].objective == "safe" and asked["safety"].safety_bins


@pytest.mark.parametrize(
    "criteria",
    [({"name": "safety"},), ({"name": "acceptable"},), ({"name": "tone"}, {"name": "tone"}), ({"name": ""},)],
)
def test_criteria_have_names_of_their_own(criteria: Any) -> None:
    with pytest.raises(ValidationError):
        CampaignSection(criteria=criteria)


# ------------------------------------------------------------------------------------------------------- rows


def test_before_the_first_campaign_the_defaults_count(any_ledger: Ledger) -> None:
    found = in_force(any_ledger)
    assert (found.id, found.settings, found.guideline) == (None, CampaignSection(), None)


def test_the_newest_campaign_counts_and_the_old_ones_stay(any_ledger: Ledger) -> None:
    set_(any_ledger, preset="hh", now=100)
    newest = set_(any_ledger, grades=1, now=50)  # the clock was set back: the order of writing decides
    assert in_force(any_ledger).id == newest and in_force(any_ledger).settings.grades == 1
    with any_ledger.read() as session:
        assert [row.version for row in session.exec(select(Campaign).order_by("version"))] == [1, 2]


def test_a_recipe_writes_a_row_only_when_its_section_changed_so_that_a_leads_row_stays(any_ledger: Ledger) -> None:
    def by_recipe(section: CampaignSection) -> str | None:
        return any_ledger.write(lambda session: campaign.set_by_recipe(session, section))

    assert by_recipe(CampaignSection(preset="hh")) is not None
    lead = set_(any_ledger, preset="safety")
    assert by_recipe(CampaignSection(preset="hh")) is None
    assert in_force(any_ledger).id == lead
    changed = by_recipe(CampaignSection(preset="hh", grades=0))
    assert in_force(any_ledger).id == changed is not None


def test_a_guideline_is_a_version_once_and_each_label_keeps_the_one_that_was_seen(any_ledger: Ledger) -> None:
    fill(any_ledger, 3)
    set_(any_ledger, guideline="First.")
    [first] = queue.claim(any_ledger, "ann")
    for text in ("Second.", "First.", "Second."):
        set_(any_ledger, guideline=text)
    [*_, second] = queue.claim(any_ledger, "ann", 2)
    queue.submit(any_ledger, "ann", judgment(first, "seen-the-first", guideline=first.guideline))
    queue.submit(any_ledger, "ann", judgment(second, "says-nothing"))
    with any_ledger.read() as session:
        versions = {row.id: row.version for row in session.exec(select(Guideline))}
        seen = dict(session.exec(select(Label.uuid, Label.guideline_id)).all())
    assert versions == {campaign.guideline_id("First."): 1, campaign.guideline_id("Second."): 2}
    assert seen == {"seen-the-first": first.guideline, "says-nothing": campaign.guideline_id("Second.")}
    [third] = queue.claim(any_ledger, "ann")
    with pytest.raises(BadInput, match="no such guideline") as refused:
        queue.submit(any_ledger, "ann", judgment(third, "made-up-one", guideline="made-up"))
    assert refused.value.where == "guideline"


# ------------------------------------------------------------------------------------------------- judgments

RATED = {"criteria": [{"name": "tone", "most": 5}], "acceptable": True, "safety_bins": True}


@pytest.mark.parametrize(
    ("asked", "says", "where"),
    [
        ({"grades": 2}, {"strength": 3}, "strength"),
        ({"grades": 2}, {"strength": -3}, "strength"),
        ({"preset": "hh", "grades": 0}, {"strength": 1}, "strength"),
        ({"ties": False}, {"ranking": [["x", "y"]]}, "ranking"),
        ({"both_bad": False}, {"both_bad": True}, "both_bad"),
        ({"edit": False}, {"edited": {"x": "Better."}}, "edited"),
        ({"rationale": "demanded"}, {}, "rationale"),
        ({"rationale": "demanded"}, {"rationale": " \n"}, "rationale"),
        ({"rationale": "off"}, {"rationale": "Because."}, "rationale"),
        (RATED, {"criteria": {"tune": 3}}, "criteria.tune"),
        (RATED, {"criteria": {"tone": 6}}, "criteria.tone"),
        (RATED, {"criteria": {"tone": 0}}, "criteria.tone"),
        (RATED, {"criteria": {"tone": "dry"}}, "criteria.tone"),
        (RATED, {"criteria": {"tone": True}}, "criteria.tone"),
        (RATED, {"criteria": {"tone": {"x": 1, "z": 2}}}, "criteria.tone"),
        (RATED, {"criteria": {"safety": {"x": "harmless"}}}, "criteria.safety"),
        (RATED, {"criteria": {"safety": "safe"}}, "criteria.safety"),
        (RATED, {"criteria": {"acceptable": {"x": 1}}}, "criteria.acceptable"),
        ({"preset": "hh"}, {"criteria": {"acceptable": {"x": True}}}, "criteria.acceptable"),
        ({"preset": "hh"}, {"criteria": {"tone": 1}}, "criteria.tone"),
        ({}, {"criteria": {"safety": {"x": "harmless"}}}, "criteria.safety"),
        ({}, {"flags": ["unsafe@z"]}, "flags"),
    ],
)
def test_what_a_campaign_does_not_ask_is_refused_by_the_fields_name(
    asked: dict[str, Any], says: dict[str, Any], where: str
) -> None:
    with pytest.raises(BadInput) as refused:
        check_asked(two(**says), ["x", "y"], CampaignSection(**asked))
    assert refused.value.where == where


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({}, {"strength": -3, "both_bad": True, "rationale": "So.", "edited": {"x": "z"}, "flags": ["unsafe", "odd"]}),
        ({}, {"criteria": {"truthful": 3, "tone": "dry", "safety": {"x": "unsafe"}, "acceptable": {"y": False}}}),
        ({"grades": 1}, {"strength": 1, "flags": ["unsafe@x", "nonsense"]}),
        ({"ties": False}, {"ranking": [["x", "y"]], "both_bad": True}),
        ({"rationale": "demanded"}, {"rationale": "Because."}),
        (RATED, {"criteria": {"tone": 5, "acceptable": {"x": True, "y": False}, "safety": {"x": "borderline"}}}),
        (RATED, {"criteria": {"tone": {"x": 1, "y": 4.5}}}),
    ],
)
def test_what_a_campaign_asks_is_taken(asked: dict[str, Any], says: dict[str, Any]) -> None:
    check_asked(two(**says), ["x", "y"], CampaignSection(**asked))


def test_a_judgment_begun_under_the_campaign_before_is_still_taken(any_ledger: Ledger) -> None:
    fill(any_ledger, 2)
    set_(any_ledger, preset="hh", now=500)
    [task] = queue.claim(any_ledger, "ann", now=1000)
    set_(any_ledger, preset="helpsteer3", now=1500)
    assert queue.submit(any_ledger, "ann", judgment(task, "without-reason"), now=2000).stored
    [later] = queue.claim(any_ledger, "ann", now=2100)
    with pytest.raises(BadInput, match="reason in words"):
        queue.submit(any_ledger, "ann", judgment(later, "without-reason-2"), now=2200)
    with pytest.raises(BadInput, match="reason in words"):
        queue.revise(any_ledger, "ann", "without-reason", judgment(task, "revised-later", strength=1), now=2300)


def test_a_task_says_what_it_is_asked_for(any_ledger: Ledger) -> None:
    fill(any_ledger, 1)
    set_(any_ledger, criteria=(Criterion(name="tone"), Criterion(name="truth")), guideline="Be kind.")
    [task] = queue.claim(any_ledger, "ann")
    assert (task.criteria, task.objective, task.practice, task.topic) == (("tone", "truth"), "helpful", False, "")
    assert task.guideline == campaign.guideline_id("Be kind.")
