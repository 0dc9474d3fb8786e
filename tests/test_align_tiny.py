"""The tiny model and its tokenizer: lossless, one begin, one end, the same bytes each time."""

import json
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from align.tiny import TinySection, make_tiny, make_tokenizer, texts_of
from annotate.errors import BadInput
from annotate.messages import as_messages
from reward.backbone import encode, encode_prompt, load_model, load_tokenizer

TEXTS = ["Make a soup with leeks.", "Make a stew with leeks and peas.", "How do I roast leeks and peas?"] * 3
SMALL = TinySection(width=16, layers=1)
TOKENIZER = make_tokenizer(TEXTS, 100)
TOKENIZER.encode_special_tokens = True  # a special token spelt out in a text is mere text, as in reward/backbone.py


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("tiny")
    make_tiny(TEXTS, out, SMALL, seed=1)
    return out


@given(st.text())
@example("<|end|>")
@settings(max_examples=200, deadline=None)
def test_any_text_comes_back_from_its_tokens(text: str) -> None:
    text = text.encode("utf-8", "ignore").decode()
    assert TOKENIZER.decode(TOKENIZER.encode(text, add_special_tokens=False).ids) == text


def test_a_common_word_is_one_token_and_an_unseen_one_is_spelt() -> None:
    assert TOKENIZER.encode(" leeks").tokens == ["Ġleeks"]
    assert len(TOKENIZER.encode(" xyz").ids) == 4


def test_a_digit_is_a_word_so_that_a_number_never_seen_is_spelt_like_all_others() -> None:
    tokenizer = make_tokenizer(["Ticket #48213, 2 days.", "Ticket #48213, 2 days."], words=20)
    assert tokenizer.encode("#48213").tokens == ["#", "4", "8", "2", "1", "3"]
    assert tokenizer.encode("Ticket #99, 2").tokens == ["Ticket", "Ġ#", "9", "9", ",", "Ġ", "2"]


def test_a_letter_of_a_script_without_spaces_is_a_word() -> None:
    """However long the run of letters it stands in, so that a model meets each of them often and can copy it."""
    tokenizer = make_tokenizer(["去杭州。", "杭州去过？"], words=10)
    assert len(tokenizer.encode("杭州去").ids) == 3
    assert tokenizer.decode(tokenizer.encode("杭州 ok 天").ids) == "杭州 ok 天"


def test_the_same_texts_and_seed_make_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    make_tiny(TEXTS, tmp_path, SMALL, seed=1)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == {
        path.name: path.read_bytes() for path in tmp_path.iterdir()
    }


def test_another_seed_makes_other_weights(folder: Path, tmp_path: Path) -> None:
    make_tiny(TEXTS, tmp_path, SMALL, seed=2)
    assert (folder / "model.safetensors").read_bytes() != (tmp_path / "model.safetensors").read_bytes()


def test_prompt_ids_are_a_strict_prefix_with_one_begin_and_one_end(folder: Path) -> None:
    tokenizer = load_tokenizer(folder)
    prompt = as_messages([{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Soup?"}])
    encoded = encode(tokenizer, prompt, "Make a soup.")
    whole = encoded.prompt + encoded.completion
    assert encode_prompt(tokenizer, prompt) == encoded.prompt
    assert 0 < len(encoded.prompt) < len(whole)
    assert whole.count(tokenizer.bos_token_id) == 1 and whole[0] == tokenizer.bos_token_id
    assert whole.count(tokenizer.eos_token_id) == 1 and whole[-1] == tokenizer.eos_token_id
    assert tokenizer.decode(encoded.completion, skip_special_tokens=True) == "Make a soup."


def test_pad_is_not_eos_and_input_and_output_embeddings_are_one(folder: Path) -> None:
    tokenizer = load_tokenizer(folder)
    assert tokenizer.pad_token_id != tokenizer.eos_token_id
    model = load_model(folder, tokenizer)
    assert model.get_input_embeddings().weight is model.get_output_embeddings().weight


def test_the_generation_markers_cover_the_answer_and_its_end_alone(folder: Path) -> None:
    tokenizer = load_tokenizer(folder)
    turns = [{"role": "user", "content": "Soup?"}, {"role": "assistant", "content": "Make a soup."}]
    made = tokenizer.apply_chat_template(turns, return_dict=True, return_assistant_tokens_mask=True, tokenize=True)
    answer = [token for token, mine in zip(made["input_ids"], made["assistant_masks"], strict=True) if mine]
    assert tokenizer.decode(answer) == "Make a soup.<|end|>"


def test_no_text_at_all_is_said_so() -> None:
    with pytest.raises(BadInput, match="no text"):
        make_tokenizer([""], 10)


def test_texts_are_every_turn_of_the_demonstrations(tmp_path: Path) -> None:
    path = tmp_path / "demonstrations.jsonl"
    path.write_text(json.dumps({"prompt": [{"role": "user", "content": "Hi"}], "response": "Hello"}) + "\n")
    assert texts_of(path) == ["Hi", "Hello"]
