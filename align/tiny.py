"""A tiny causal language model and its tokenizer, made from any texts: what the demo and the tests train.

The tokenizer is lossless on every string: each common word is one token, all else falls back to bytes. The weights
are random; align/algorithms/sft.py trains them. Real models are loaded by reward/backbone.py instead.
"""

import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field

from annotate.errors import BadInput
from annotate.messages import UNSPACED

if TYPE_CHECKING:
    from tokenizers import Tokenizer

PAD, BOS, EOS = "<|pad|>", "<|begin|>", "<|end|>"
ROLES = ("<|system|>", "<|user|>", "<|assistant|>", "<|tool|>")

# One begin token, a role token before each turn, an end token after the assistant's turns alone; the generation
# markers let TRL's assistant-only loss find them. Prompt ids are a strict prefix of prompt + completion ids.
CHAT_TEMPLATE = (
    "{{- bos_token }}"
    "{%- for message in messages %}"
    "{{- '<|' + message['role'] + '|>' }}"
    "{%- if message['role'] == 'assistant' %}"
    "{%- generation %}{{- message['content'] + eos_token }}{%- endgeneration %}"
    "{%- else %}{{- message['content'] }}{%- endif %}"
    "{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|assistant|>' }}{%- endif %}"
)


class TinySection(BaseModel):
    """The shape of the tiny model; the defaults train in about a minute on one CPU core."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    width: int = Field(default=112, ge=16, multiple_of=8)
    """Hidden units of each token."""
    layers: int = Field(default=2, ge=1)
    """Transformer blocks."""
    words: int = Field(default=2048, ge=0)
    """Most words that get a token of their own; the rest is spelt in bytes."""


def make_tiny(texts: Iterable[str], out: Path, section: TinySection | None = None, *, seed: int = 0) -> None:
    """Write tokenizer and randomly initialised model to `out` as a transformers folder; same inputs, same bytes.

    texts: the prompts and responses the model will be trained on.
    Raises BadInput when there is no text.
    """
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
    from transformers.utils import logging as hub_logging

    section = section or TinySection()
    inner = make_tokenizer(texts, section.words)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=inner, pad_token=PAD, bos_token=BOS, eos_token=EOS, padding_side="left"
    )
    tokenizer.chat_template = CHAT_TEMPLATE
    tokenizer.model_max_length = 4096
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=section.width,
        intermediate_size=section.width * 3,
        num_hidden_layers=section.layers,
        num_attention_heads=4,
        max_position_embeddings=4096,
        tie_word_embeddings=True,
        # Four times the usual spread: at this width small embeddings drown in each other, and the model then takes
        # ten times as long to learn to copy words from its prompt.
        initializer_range=0.08,
        attention_dropout=0.0,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        dtype="float32",
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = LlamaForCausalLM(config)
    hub_logging.disable_progress_bar()
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)


def make_tokenizer(texts: Iterable[str], words: int) -> "Tokenizer":
    """A tokenizer whose tokens are the special ones, the 256 bytes, and the most frequent words of `texts`.

    Words are the pieces a byte-level pre-tokenizer cuts (a leading space belongs to its word; a letter of a script
    without spaces is a word, and so is a digit, or few numbers would be seen often enough) seen at least twice.
    Unigram scores make the longest known word win over its spelling in bytes.
    """
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers

    alone = pre_tokenizers.Split(Regex(f"[{UNSPACED}\\p{{N}}]"), "isolated")
    cut = pre_tokenizers.Sequence([alone, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)])
    counts: Counter[str] = Counter()
    some = False
    for text in texts:
        some = some or bool(text)
        counts.update(piece for piece, _ in cut.pre_tokenize_str(text))
    if not some:
        raise BadInput("there is no text to make a tokenizer from", next="Run: trueloop prompts --help")
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    # A word seen once is a typo or a name: spelt in bytes it still trains the bytes, which unseen words need.
    frequent = sorted(
        (piece for piece, n in counts.items() if n > 1 and len(piece) > 1), key=lambda piece: (-counts[piece], piece)
    )[:words]
    # A letter costs 20 nats and a word at most 10, so one word always beats two or more letters.
    scored = [(letter, -20.0) for letter in letters]
    scored += [(piece, -10.0 * (rank + 1) / (len(frequent) + 1)) for rank, piece in enumerate(frequent)]
    tokenizer = Tokenizer(models.Unigram(scored, unk_id=None, byte_fallback=False))
    tokenizer.pre_tokenizer = cut
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(
        [AddedToken(token, special=True, normalized=False) for token in (PAD, BOS, EOS, *ROLES)]
    )
    return tokenizer


def texts_of(demonstrations: Path) -> list[str]:
    """Every turn's text in a demonstrations.jsonl, in file order."""
    texts: list[str] = []
    with demonstrations.open(encoding="utf-8") as file:
        for line in file:
            row = json.loads(line)
            texts += [turn["content"] for turn in row["prompt"] if isinstance(turn["content"], str)]
            texts.append(row["response"])
    return texts
