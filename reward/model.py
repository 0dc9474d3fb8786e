"""A scalar head on a language model: made, loaded, and read at the last token that is no padding.

A plain transformers sequence-classification model with one label; training it is reward/finetune.py's business.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from annotate.errors import BadModel, MissingExtra
from reward.backbone import check_model_folder

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

TOKENS_AT_ONCE = 2**14
"""Tokens of one forward pass, padding included."""


def make_scalar_model(name: str | Path, tokenizer: "PreTrainedTokenizerBase", *, seed: int) -> "PreTrainedModel":
    """A language model with a fresh scalar head, float32, drawn from N(0, 1 / sqrt(width + 1)) without a bias.

    name: a causal language model's folder or hub name. tokenizer: its own; decides the padding that the head skips.
    Raises BadModel when the model is missing, corrupt or unsafe to load.
    Source: Stiennon et al. 2020, https://arxiv.org/abs/2009.01325, appendix B.1.
    """
    import torch

    model = _load(name, tokenizer, fresh_head=True)
    head: Any = model.get_parameter("score.weight")
    with torch.no_grad():
        generator = torch.Generator().manual_seed(seed)
        head.copy_(torch.randn(head.shape, generator=generator) / (head.shape[1] + 1) ** 0.5)
    return model


def load_scalar_model(folder: Path, tokenizer: "PreTrainedTokenizerBase") -> "PreTrainedModel":
    """A reward model as saved, in evaluation mode. Raises BadModel when it is not whole or unsafe to load."""
    return _load(folder, tokenizer, fresh_head=False)


def rewards(model: "PreTrainedModel", rows: Sequence[Sequence[int]], *, pad: int) -> np.ndarray:
    """Reward logits of conversations in tokens, shape (N,): read at each row's last token, padded on the right."""
    import torch

    device = next(model.parameters()).device
    order = sorted(range(len(rows)), key=lambda row: len(rows[row]))
    found = np.zeros(len(rows))
    was_training = model.training
    model.eval()
    done = 0
    while done < len(order):
        batch = order[done : done + 1]
        while done + len(batch) < len(order):
            row = order[done + len(batch)]
            if (len(batch) + 1) * len(rows[row]) > TOKENS_AT_ONCE:
                break
            batch.append(row)
        width = max(1, len(rows[batch[-1]]))
        ids_B_T = torch.full((len(batch), width), pad, dtype=torch.long)
        mask_B_T = torch.zeros((len(batch), width), dtype=torch.long)
        for place, row in enumerate(batch):
            ids_B_T[place, : len(rows[row])] = torch.tensor(rows[row])
            mask_B_T[place, : len(rows[row])] = 1
        with torch.no_grad():
            logits_B = model(input_ids=ids_B_T.to(device), attention_mask=mask_B_T.to(device), use_cache=False).logits
        found[batch] = logits_B[:, 0].double().cpu().numpy()
        done += len(batch)
    model.train(was_training)
    return found


def _load(name: str | Path, tokenizer: "PreTrainedTokenizerBase", *, fresh_head: bool) -> "PreTrainedModel":
    try:
        import torch
        from transformers import AutoModelForSequenceClassification
        from transformers.utils import logging as hub_logging
    except ImportError as error:
        raise MissingExtra(error.name or "transformers", "train") from error
    check_model_folder(name)
    hub_logging.disable_progress_bar()
    verbosity = hub_logging.get_verbosity()
    if fresh_head:  # that the head is new and the language head unused is meant, and no news
        hub_logging.set_verbosity_error()
    try:
        # Missing tensors are drawn at random first; the draw must not move the global generator.
        with torch.random.fork_rng(devices=[]):
            model, info = AutoModelForSequenceClassification.from_pretrained(
                str(name),
                num_labels=1,
                dtype=torch.float32,
                use_safetensors=True,
                trust_remote_code=False,
                output_loading_info=True,
            )
            if len(tokenizer) > model.get_input_embeddings().weight.shape[0]:
                torch.manual_seed(0)
                model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    except Exception as error:  # the loaders raise a dozen kinds, each meaning that this model cannot be used
        first = (str(error).strip() or type(error).__name__).splitlines()[0][:300]
        raise BadModel(f"the model cannot be loaded: {first}", where=str(name), next="Run: trueloop doctor") from error
    finally:
        hub_logging.set_verbosity(verbosity)
    lacking = set(info["missing_keys"]) | {str(key) for key in info["mismatched_keys"]}
    if fresh_head:
        lacking -= {"score.weight"}
    if lacking or not hasattr(model, "score"):
        what = f"the weights lack {sorted(lacking)[0]}" if lacking else "models of this family have no scalar head here"
        raise BadModel(what, where=str(name), next="Use reward.kind=head, which takes any language model")
    model.config.pad_token_id = tokenizer.pad_token_id
    model.config.get_text_config().pad_token_id = tokenizer.pad_token_id
    return model.eval()
