"""A recipe says what is wrong with it, reads back as itself, and every shipped one is valid."""

import pytest

from align.recipe import (
    Recipe,
    field_docs,
    field_paths,
    find_recipe,
    load_recipe,
    parse_recipe,
    shipped_recipes,
    write_recipe,
)
from annotate.errors import BadRecipe


@pytest.mark.parametrize("name", shipped_recipes())
def test_every_shipped_recipe_is_valid_and_complete(name: str) -> None:
    recipe = load_recipe(find_recipe(name))
    assert recipe.name == name


@pytest.mark.parametrize("name", shipped_recipes())
def test_a_written_recipe_reads_back_as_the_same_recipe(name: str, tmp_path) -> None:
    recipe = load_recipe(find_recipe(name))
    (tmp_path / "copy.yaml").write_text(write_recipe(recipe), encoding="utf-8")
    assert load_recipe(tmp_path / "copy.yaml") == recipe


def test_every_field_of_a_recipe_has_a_line_of_doc() -> None:
    def missing(model, prefix=""):
        from align.recipe import _models_in

        docs = field_docs(model)
        for name, field in model.model_fields.items():
            kinds = _models_in(field.annotation)
            if not kinds and name != "kind" and not docs.get(name):
                yield prefix + name
            for kind in kinds:
                yield from missing(kind, f"{prefix}{name}({kind.__name__}).")

    assert list(missing(Recipe)) == []


def test_an_unknown_field_names_the_nearest_valid_one() -> None:
    with pytest.raises(BadRecipe, match=r"no field 'policy.betta', did you mean 'policy.beta'\?"):
        parse_recipe({"policy": {"kind": "rloo", "betta": 1}})
    with pytest.raises(BadRecipe, match=r"no field 'polisy', did you mean 'policy'\?"):
        parse_recipe({"polisy": {}})


def test_an_ill_typed_field_is_named_with_what_was_found() -> None:
    with pytest.raises(BadRecipe, match=r"labels.per_round: .*integer.*found 'many'"):
        parse_recipe({"labels": {"per_round": "many"}})


def test_more_labels_than_the_pairs_can_take_are_refused_with_the_number_that_would_do() -> None:
    with pytest.raises(
        BadRecipe, match=r"^recipe: labels\.per_round waits for 301 .* allows 256: set pairs\.most=151 too"
    ):
        parse_recipe({"labels": {"per_round": 301}, "pairs": {"overlap": 2}})
    assert parse_recipe({}, ["labels.per_round=301", "pairs.overlap=2", "pairs.most=151"]).labels.per_round == 301


def test_an_unknown_kind_lists_the_valid_ones() -> None:
    with pytest.raises(BadRecipe, match=r"policy.kind: .*'rloo'.*'dpo'"):
        parse_recipe({"policy": {"kind": "magic"}})


def test_an_override_beats_the_file_and_keeps_its_type() -> None:
    recipe = parse_recipe({"seed": 1, "labels": {"per_round": 3}}, ["labels.per_round=7", "world=null"])
    assert (recipe.labels.per_round, recipe.seed, recipe.world) == (7, 1, None)


def test_overriding_one_field_of_a_section_keeps_the_default_kind() -> None:
    assert parse_recipe({}, ["policy.beta=0.25"]).policy.beta == 0.25
    assert parse_recipe({}, ["policy.beta=0.25"]).policy.kind == Recipe().policy.kind


@pytest.mark.parametrize("override", ["policy.beta", "=3", "policy..beta=1", "seed.more=1", "policy.beta=[1", ""])
def test_a_malformed_override_is_refused(override: str) -> None:
    with pytest.raises(BadRecipe):
        parse_recipe({"seed": 1}, [override])


@pytest.mark.parametrize("text", ["a: [1", "- 1\n- 2", "\t- x", "? {}: 1\n", "a: &x [*x]", "[]", "0"])
def test_a_file_that_is_no_recipe_is_refused_with_its_name(text: str, tmp_path) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(BadRecipe, match=r"bad\.yaml"):
        load_recipe(path)


def test_a_missing_recipe_names_the_shipped_ones() -> None:
    with pytest.raises(BadRecipe, match="tiny"):
        find_recipe("tinny")


def test_field_paths_cover_all_kinds_of_a_section() -> None:
    paths = field_paths()
    assert "policy.beta" in paths
    assert "labels.per_round" in paths
    assert len(paths) == len(set(paths))


def test_a_preset_of_the_campaign_fills_what_a_shipped_recipe_leaves_open() -> None:
    asked = load_recipe(find_recipe("own-model"), ["campaign.preset=safety", "campaign.grades=1"]).campaign
    assert (asked.objective, asked.safety_bins, asked.grades) == ("safe", True, 1)


def test_another_preset_takes_the_place_of_one_that_was_written_out(tmp_path) -> None:
    path = tmp_path / "loop.yaml"
    path.write_text(write_recipe(parse_recipe({}, ["campaign.preset=hh", "campaign.grades=1"])), encoding="utf-8")
    asked = load_recipe(path, ["campaign.preset=instructgpt-ranking", "campaign.rationale=off"]).campaign
    assert (asked.ties, asked.grades, asked.rationale, asked.criteria[0].name) == (True, 1, "off", "overall")


def test_a_guidelines_file_is_read_with_the_recipe(tmp_path) -> None:
    (tmp_path / "rules.md").write_text("# Be kind\n", encoding="utf-8")
    (tmp_path / "loop.yaml").write_text("campaign: {guideline: rules.md}\n", encoding="utf-8")
    recipe = load_recipe(tmp_path / "loop.yaml")
    assert recipe.campaign.guideline == "# Be kind\n"
    assert parse_recipe({"campaign": {"guideline": "Read\nrules.md"}}).campaign.guideline == "Read\nrules.md"
    with pytest.raises(BadRecipe, match=r"campaign.guideline: none.md cannot be read"):
        load_recipe(tmp_path / "loop.yaml", ["campaign.guideline=none.md"])
    (tmp_path / "copy.yaml").write_text(write_recipe(recipe), encoding="utf-8")
    assert load_recipe(tmp_path / "copy.yaml") == recipe


def test_a_criterion_that_does_not_fit_is_named() -> None:
    with pytest.raises(BadRecipe, match=r"campaign.criteria.0.most: .*10"):
        parse_recipe({"campaign": {"criteria": [{"name": "tone", "most": 11}]}})
    with pytest.raises(BadRecipe, match=r"campaign: .*a name of its own"):
        parse_recipe({"campaign": {"criteria": [{"name": "safety"}]}})
