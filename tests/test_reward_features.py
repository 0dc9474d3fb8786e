"""Features of prompts and responses: made without labels, the same alone and in a batch, whole after a reload."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from align.tiny import TinySection, make_tiny
from annotate.messages import as_messages
from reward.backbone import load_model, load_tokenizer
from reward.features import Features, Item, WordTable
from reward.hidden import others

THINGS = ["leeks", "peas", "beans", "pears", "plums", "beets", "onions", "olives"]
ITEMS = [
    Item(as_messages(f"What can I cook with {thing} today?"), f"{verb} a {dish} with {named}. Enjoy it!")
    for thing, named in zip(THINGS, THINGS[1:] + THINGS[:1], strict=True)
    for verb, dish in (("Make", "soup"), ("Try", "stew"), ("Cook", "pie pie pie"))
]


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any]:
    out = tmp_path_factory.mktemp("tiny")
    make_tiny([item.response for item in ITEMS], out, TinySection(width=16, layers=2))
    tokenizer = load_tokenizer(out)
    return load_model(out, tokenizer), tokenizer


def test_each_block_is_centred_with_total_variance_one(backbone: tuple[Any, Any]) -> None:
    _, blocks = Features.fit(ITEMS, backbone)
    assert set(blocks) == {"text", "ngrams", "likelihood", "hidden"}
    for name, block in blocks.items():
        assert np.allclose(block.mean(0), 0, atol=1e-8), name
        assert block.var(0).sum() == pytest.approx(1, abs=1e-6), name


def test_a_response_has_the_same_features_alone_and_in_a_batch(backbone: tuple[Any, Any]) -> None:
    features, _ = Features.fit(ITEMS, backbone)
    long = Item(ITEMS[0].prompt, "Make soup. " * 40)
    together = features([*ITEMS, long])
    for index, item in enumerate([*ITEMS[:3], long]):
        alone = features([item])
        row = index if index < 3 else len(ITEMS)
        for name, block in alone.items():
            assert np.allclose(block[0], together[name][row], atol=1e-5), name


def test_features_survive_a_save(backbone: tuple[Any, Any]) -> None:
    features, blocks = Features.fit(ITEMS, backbone)
    again = Features.from_state(features.state(), backbone, features.pool)(ITEMS)
    for name, block in blocks.items():
        assert np.allclose(block, again[name], atol=1e-4), name


def test_text_alone_needs_no_torch_and_directions_can_be_left_out() -> None:
    _, blocks = Features.fit(ITEMS, None, ngrams=0)
    assert set(blocks) == {"text"}


def test_naming_what_only_other_prompts_ask_for_is_seen() -> None:
    words = WordTable.fit(ITEMS)
    prompt = as_messages("What can I cook with leeks today?")
    on_topic = words.describe(Item(prompt, "Make a soup with leeks."))
    off_topic = words.describe(Item(prompt, "Make a soup with plums."))
    on, off = 4, 5  # words of this prompt that tell it apart, and words of others
    assert (on_topic[on], on_topic[off]) == (1, 0)
    assert (off_topic[on], off_topic[off]) == (0, 1)


def test_topic_and_repetition_are_seen_in_a_script_without_spaces() -> None:
    places = ["杭州", "北京", "西安", "成都"]
    words = WordTable.fit([Item(as_messages(f"去{place}该吃什么？"), f"{place}，吃面。") for place in places])
    on, off, repeated, sentences = 4, 5, 9, 12
    right, wrong = (words.describe(Item(as_messages("去杭州该吃什么？"), f"{place}，吃面。")) for place in places[:2])
    assert (right[on], right[off]) == (2, 0)
    assert (wrong[on], wrong[off]) == (0, 2)
    twice = words.describe(Item(as_messages("去杭州该吃什么？"), "吃面。吃面。"))
    assert twice[repeated] == pytest.approx(1 - 3 / 5)
    assert twice[sentences] == pytest.approx(np.log1p(2))


@pytest.mark.parametrize("response", ["", " ", "\n\n", "x" * 10_000, "soup " * 2000, "🎉日本\x00"])
def test_odd_responses_have_finite_features(backbone: tuple[Any, Any], response: str) -> None:
    features, _ = Features.fit(ITEMS, backbone)
    for block in features([Item(ITEMS[0].prompt, response)]).values():
        assert np.isfinite(block).all()


def test_one_item_and_equal_items_are_no_failure() -> None:
    for items in (ITEMS[:1], ITEMS[:1] * 5):
        _, blocks = Features.fit(items)
        assert all(np.isfinite(block).all() for block in blocks.values())


def test_the_other_prompt_is_never_the_own_and_never_chance() -> None:
    pool = [item.prompt for item in ITEMS[::3]]
    for prompt in pool:
        assert prompt not in others(prompt, pool) and others(prompt, pool) == others(prompt, list(pool))
    assert others(pool[0], pool[:1]) == []


def test_hidden_states_and_likelihoods_are_those_of_the_model(backbone: tuple[Any, Any], tmp_path: Path) -> None:
    import torch

    from reward.backbone import encode
    from reward.hidden import read

    model, tokenizer = backbone
    item = ITEMS[4]
    likelihood, hidden = read(model, tokenizer, [item, ITEMS[0]], [])
    ids = encode(tokenizer, item.prompt, item.response)
    with torch.no_grad():
        out = model(input_ids=torch.tensor([ids.prompt + ids.completion]), output_hidden_states=True)
    first = len(ids.prompt)
    logps = out.logits[0, first - 1 : -1].log_softmax(-1).gather(1, torch.tensor(ids.completion)[:, None])
    assert likelihood[0, 0] == pytest.approx(float(logps.sum()), abs=1e-4)
    assert np.allclose(hidden[0, :16], out.hidden_states[1][0, first:].mean(0), atol=1e-5)
    assert np.allclose(hidden[0, 32:], out.hidden_states[-1][0, -1], atol=1e-5)
