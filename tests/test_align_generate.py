"""The lean sampler against transformers' own: the same distribution, whatever shares the batch."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from align.generate import Completion, generate, sample
from align.tiny import TinySection, make_tiny
from annotate.messages import Messages, as_messages
from reward.backbone import encode_prompt, load_model, load_tokenizer

TEXT = "make a soup with leeks and peas then roast them slowly until tender for the dinner"
WORDS = TEXT.split()
TEXTS = [" ".join(WORDS), " ".join(reversed(WORDS))] * 2
PROMPTS = [as_messages(" ".join(WORDS[:count])) for count in (1, 3, 7, 12)]


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any]:
    out = tmp_path_factory.mktemp("tiny")
    make_tiny(TEXTS, out, TinySection(width=32, layers=2), seed=0)
    tokenizer = load_tokenizer(out)
    return load_model(out, tokenizer), tokenizer


def forced(model: Any, tokenizer: Any, prompt: Messages, answer: Completion, temperature: float = 1.0) -> float:
    import torch

    ids = encode_prompt(tokenizer, prompt)
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([ids + answer.token_ids])).logits[0, len(ids) - 1 : -1]
    logps = (logits / temperature).log_softmax(-1)
    return float(logps.gather(1, torch.tensor(answer.token_ids)[:, None]).sum())


@pytest.mark.parametrize("temperature", [1.0, 0.7, 1.3])
def test_recorded_logprobs_equal_teacher_forced_ones(pair: tuple[Any, Any], temperature: float) -> None:
    model, tokenizer = pair
    answers = generate(model, tokenizer, PROMPTS, n=4, max_new_tokens=24, temperature=temperature, seed=3, batch_size=7)
    for prompt, row in zip(PROMPTS, answers, strict=True):
        for answer in row:
            assert answer.logprob == pytest.approx(forced(model, tokenizer, prompt, answer, temperature), abs=1e-4)


def test_greedy_equals_the_library_s_greedy(pair: tuple[Any, Any]) -> None:
    import torch

    model, tokenizer = pair
    answers = generate(model, tokenizer, PROMPTS, n=1, max_new_tokens=16, temperature=0)
    for prompt, row in zip(PROMPTS, answers, strict=True):
        ids = torch.tensor([encode_prompt(tokenizer, prompt)])
        whole = model.generate(ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=16)
        assert row[0].token_ids == whole[0, ids.shape[1] :].tolist()


def test_an_answer_does_not_depend_on_what_shares_its_batch(pair: tuple[Any, Any]) -> None:
    model, tokenizer = pair
    together = generate(model, tokenizer, PROMPTS, n=3, max_new_tokens=16, seed=1, batch_size=100)
    small = generate(model, tokenizer, PROMPTS, n=3, max_new_tokens=16, seed=1, batch_size=2)
    alone = generate(model, tokenizer, PROMPTS[2:3], n=3, max_new_tokens=16, seed=1)
    assert [[one.text for one in row] for row in together] == [[one.text for one in row] for row in small]
    assert [one.text for one in together[2]] == [one.text for one in alone[0]]


def test_samples_of_one_prompt_differ_and_another_seed_gives_others(pair: tuple[Any, Any]) -> None:
    model, tokenizer = pair
    first = generate(model, tokenizer, PROMPTS[:1], n=8, max_new_tokens=16, seed=1)[0]
    other = generate(model, tokenizer, PROMPTS[:1], n=8, max_new_tokens=16, seed=2)[0]
    assert len({one.text for one in first}) == 8
    assert {one.text for one in first}.isdisjoint({one.text for one in other})


def test_the_first_token_is_drawn_from_the_model_s_distribution(pair: tuple[Any, Any]) -> None:
    """Chi-square of 6,000 draws against the exact probabilities: a sampler off by 5% in one token of ten fails."""
    import torch

    model, tokenizer = pair
    prompt = encode_prompt(tokenizer, PROMPTS[1])
    rows = sample(
        model, [prompt] * 6000, eos=[tokenizer.eos_token_id], pad=0, max_new_tokens=1, seed=4, batch_size=6000
    )
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([prompt])).logits[0, -1]
    expected = logits.double().softmax(-1).numpy() * 6000
    found = np.bincount([row.token_ids[0] for row in rows], minlength=len(expected))
    big = expected > 5
    statistic = ((found[big] - expected[big]) ** 2 / expected[big]).sum()
    assert statistic < big.sum() + 5 * np.sqrt(2 * big.sum())


def test_top_p_keeps_the_smallest_sufficient_set_and_its_renormalised_logprob(pair: tuple[Any, Any]) -> None:
    import torch

    model, tokenizer = pair
    prompt = encode_prompt(tokenizer, PROMPTS[0])
    rows = sample(
        model, [prompt] * 500, eos=[tokenizer.eos_token_id], pad=0, max_new_tokens=1, top_p=0.5, seed=4, batch_size=500
    )
    with torch.no_grad():
        probs = model(input_ids=torch.tensor([prompt])).logits[0, -1].softmax(-1)
    ordered = probs.sort(descending=True)
    size = int((ordered.values.cumsum(0) < 0.5).sum()) + 1
    allowed = set(ordered.indices[:size].tolist())
    assert {row.token_ids[0] for row in rows} <= allowed
    mass = float(ordered.values[:size].sum())
    for row in rows[:50]:
        assert row.logprob == pytest.approx(float((probs[row.token_ids[0]] / mass).log()), abs=1e-4)


def test_an_answer_ends_at_its_first_eos_or_says_it_did_not(pair: tuple[Any, Any]) -> None:
    model, tokenizer = pair
    rows = [one for row in generate(model, tokenizer, PROMPTS, n=16, max_new_tokens=12, seed=0) for one in row]
    for one in rows:
        assert one.finished == (one.token_ids[-1] == tokenizer.eos_token_id)
        assert tokenizer.eos_token_id not in one.token_ids[:-1]
        assert one.finished or len(one.token_ids) == 12


def test_a_prompt_longer_than_the_window_is_cut_from_the_left(pair: tuple[Any, Any]) -> None:
    model, tokenizer = pair
    endless = as_messages("soup " * 3000)
    answer = generate(model, tokenizer, [endless], n=1, max_new_tokens=4, max_prompt_tokens=20)[0][0]
    ids = encode_prompt(tokenizer, endless, 20)
    assert len(ids) == 20 and ids[0] == tokenizer.bos_token_id and len(answer.token_ids) >= 1


def test_a_folder_is_sampled_by_path(tmp_path: Path) -> None:
    from align.generate import generate_from

    make_tiny(TEXTS, tmp_path, TinySection(width=16, layers=1))
    rows = generate_from(tmp_path, PROMPTS[:2], n=2, max_new_tokens=5, seed=0)
    assert [len(row) for row in rows] == [2, 2] and all(row.logprob is not None for one in rows for row in one)
