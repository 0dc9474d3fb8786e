"""Loads a language model and its tokenizer by path or hub name, and turns conversations into token ids.

Only safetensors are read and no remote code is run. A missing chat template or pad token is supplied with a notice.
Adapters are not loaded here: the trainers merge theirs before saving.
"""

import json
import logging
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from annotate.errors import BadModel, MissingExtra
from annotate.messages import Message, to_dicts

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

logger = logging.getLogger(__name__)

PLAIN_TEMPLATE = (
    "{{- bos_token if bos_token else '' }}"
    "{%- for message in messages %}{{- message['role'] + ': ' + message['content'] }}"
    "{%- if message['role'] == 'assistant' %}{{- eos_token }}{%- endif %}{{- '\n' }}{%- endfor %}"
    "{%- if add_generation_prompt %}{{- 'assistant: ' }}{%- endif %}"
)
# Trainer state that lies in many model folders and is never loaded from there.
_HARMLESS = ("training_args.bin", "optimizer.pt", "scheduler.pt", "scaler.pt")
_PICKLES = (".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt")
_NEXT = "Run: trueloop doctor, or name another folder or hub model in the recipe's sft.model"


class Encoded(NamedTuple):
    """A conversation in tokens: prompt ids are a strict prefix of prompt + completion ids, which end in one EOS."""

    prompt: list[int]
    completion: list[int]


def load_model(name: str | Path, tokenizer: "PreTrainedTokenizerBase | None" = None) -> "PreTrainedModel":
    """A causal language model in float32, in evaluation mode, on the CPU.

    name: a transformers folder or a hub name. tokenizer: grows the embeddings when it holds an added pad token.
    Raises BadModel when the folder is missing, corrupt, incomplete, or holds pickles or remote code.
    """
    try:
        import torch
        from transformers import AutoModelForCausalLM
        from transformers.utils import logging as hub_logging
    except ImportError as error:
        raise MissingExtra(error.name or "transformers", "train") from error
    check_model_folder(name)
    hub_logging.disable_progress_bar()
    try:
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            str(name), dtype=torch.float32, use_safetensors=True, trust_remote_code=False, output_loading_info=True
        )
    except Exception as error:  # the loaders raise a dozen kinds, each meaning that this model cannot be used
        raise BadModel(f"the model cannot be loaded: {_first_line(error)}", where=str(name), next=_NEXT) from error
    model, info = loaded
    lacking = sorted(info["missing_keys"]) + sorted(str(key) for key in info["mismatched_keys"])
    if lacking:
        raise BadModel(f"the weights lack {len(lacking)} tensors, first {lacking[0]}", where=str(name), next=_NEXT)
    if tokenizer is not None and len(tokenizer) > model.get_input_embeddings().weight.shape[0]:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    if tokenizer is not None:
        model.config.pad_token_id = tokenizer.pad_token_id
        model.generation_config.pad_token_id = tokenizer.pad_token_id
    return model.eval()


def load_tokenizer(name: str | Path) -> "PreTrainedTokenizerBase":
    """The model's tokenizer, padding on the left, with a chat template and a pad token that is not EOS.

    Raises BadModel when it cannot be loaded or has no end-of-sequence token.
    """
    try:
        from transformers import AutoTokenizer
    except ImportError as error:
        raise MissingExtra(error.name or "transformers", "train") from error
    check_model_folder(name)
    try:
        tokenizer = AutoTokenizer.from_pretrained(str(name), trust_remote_code=False, padding_side="left")
    except Exception as error:  # as above
        raise BadModel(f"the tokenizer cannot be loaded: {_first_line(error)}", where=str(name), next=_NEXT) from error
    if tokenizer.eos_token_id is None:
        raise BadModel("the tokenizer has no end-of-sequence token", where=str(name), next=_NEXT)
    if tokenizer.chat_template is None:
        logger.warning("%s has no chat template: plain 'role: text' lines are used", Path(str(name)).name)
        tokenizer.chat_template = PLAIN_TEMPLATE
    if tokenizer.pad_token_id is None or tokenizer.pad_token_id == tokenizer.eos_token_id:
        # With pad = EOS the end of sequence would be masked as padding, and never learned.
        logger.warning("%s has no pad token of its own: <|pad|> is added", Path(str(name)).name)
        tokenizer.add_special_tokens({"pad_token": "<|pad|>"})
    return tokenizer


def check_model_folder(name: str | Path) -> None:
    """Refuse a folder that is missing, has no readable config, or holds pickled weights or code of its own.

    A name that is no existing path and looks like a hub name ("owner/model") is left to the hub.
    """
    folder = Path(name)
    if not folder.is_dir():
        if folder.is_absolute() or folder.exists() or str(name).startswith(".") or str(name).count("/") > 1:
            raise BadModel("there is no model folder here", where=str(name), next=_NEXT)
        return
    for file in ("config.json", "tokenizer_config.json"):
        path = folder / file
        if not path.exists():
            if file == "config.json":
                raise BadModel("config.json is missing, so this is no model folder", where=str(name), next=_NEXT)
            continue
        try:
            fields = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            raise BadModel(f"{file} is not valid JSON", where=str(name), next=_NEXT) from error
        if not isinstance(fields, dict) or fields.get("auto_map"):
            raise BadModel(f"{file} asks for code of the model's own (auto_map)", where=str(name), next=_NEXT)
    pickled = sorted(
        path.name
        for path in folder.iterdir()
        if path.suffix in _PICKLES and path.name not in _HARMLESS and not path.name.startswith("rng_state")
    )
    if pickled:
        raise BadModel(
            f"{pickled[0]} is a pickle, which can run code when loaded; only safetensors are read",
            where=str(name),
            next="Convert it with safetensors and remove the file",
        )
    if not any(folder.glob("*.safetensors")):
        raise BadModel("there are no weights in safetensors form", where=str(name), next=_NEXT)


def encode_prompt(
    tokenizer: "PreTrainedTokenizerBase", prompt: Sequence[Message], max_tokens: int | None = None
) -> list[int]:
    """Token ids of a prompt, ready for the answer; cut from the left to max_tokens, the begin token kept."""
    ids = _template(tokenizer, to_dicts(prompt), ask=True)
    return cut_left(ids, max_tokens, tokenizer.bos_token_id)


def encode(
    tokenizer: "PreTrainedTokenizerBase",
    prompt: Sequence[Message],
    response: str,
    max_tokens: int | None = None,
) -> Encoded:
    """Token ids of a prompt and its answer; too long, the prompt loses its left end first, then the answer its right.

    max_tokens: most tokens of both together.
    """
    prompt_ids = _template(tokenizer, to_dicts(prompt), ask=True)
    whole = _template(tokenizer, [*to_dicts(prompt), {"role": "assistant", "content": response}], ask=False)
    eos = tokenizer.eos_token_id
    if whole[: len(prompt_ids)] == prompt_ids:
        completion = whole[len(prompt_ids) :]
        # What a template writes after the end of the turn is never sampled, so it is not part of the answer.
        if eos in completion:
            completion = completion[: len(completion) - completion[::-1].index(eos)]
    else:  # a template that rewrites earlier turns, or a token merged across the border
        encoded = tokenizer(response, add_special_tokens=False, split_special_tokens=True)
        completion = list(encoded["input_ids"])
    if not completion or completion[-1] != eos:
        completion = [*completion, eos]
    if max_tokens is not None and len(prompt_ids) + len(completion) > max_tokens:
        # Half of the window is the prompt's at least, so that an endless answer cannot push its question out.
        room = max(max_tokens - len(completion), min(len(prompt_ids), max_tokens // 2))
        prompt_ids = cut_left(prompt_ids, room, tokenizer.bos_token_id)
        completion = completion[: max_tokens - len(prompt_ids)]
    return Encoded(prompt_ids, completion)


def cut_left(ids: list[int], max_tokens: int | None, bos: int | None) -> list[int]:
    """The last max_tokens ids, keeping a begin token in front."""
    if max_tokens is None or len(ids) <= max_tokens:
        return ids
    if bos is not None and ids[0] == bos and max_tokens > 1:
        return [bos, *ids[len(ids) - max_tokens + 1 :]]
    return ids[len(ids) - max_tokens :]


def _template(tokenizer: "PreTrainedTokenizerBase", turns: list[dict[str, Any]], *, ask: bool) -> list[int]:
    """Token ids of the turns in the chat template; a special token spelt out in a turn's text stays mere text."""
    names = [token.content for token in tokenizer.added_tokens_decoder.values() if token.special]
    spelt: dict[str, str] = {}
    hidden = []
    for turn in turns:
        text = turn["content"]
        if isinstance(text, str) and any(name in text for name in names):
            stand_in = f"\ue000{len(spelt)}\ue001"
            spelt[stand_in] = text
            turn = {**turn, "content": stand_in}
        hidden.append(turn)
    text = str(tokenizer.apply_chat_template(hidden, add_generation_prompt=ask, tokenize=False))
    if not spelt:
        return list(tokenizer(text, add_special_tokens=False)["input_ids"])
    ids: list[int] = []
    for part in re.split("(" + "|".join(map(re.escape, spelt)) + ")", text):
        literal = part in spelt
        encoded = tokenizer(spelt.get(part, part), add_special_tokens=False, split_special_tokens=literal)
        ids += list(encoded["input_ids"])
    return ids


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:300]
