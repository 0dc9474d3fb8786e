"""Every field of a recipe with another valid value, and where the change shows: the table behind the dead knobs' drill.

A test holds it against the recipe, so that a new field cannot come without a line here. Running it is
drills_knobs.py's business.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, get_args, get_origin

from pydantic import BaseModel

from align.recipe import Recipe
from benchmarks.micro import DPO, FINETUNE


@dataclass(frozen=True)
class Knob:
    """One field and another value for it. under: sections of the recipe in which it matters, over the micro recipe's.

    seen: how it shows, where that is not in what the stage makes; `why` says so in words.
    """

    path: str
    to: Any
    under: Mapping[str, Any] = field(default_factory=dict)
    seen: str = ""
    why: str = ""

    @property
    def stage(self) -> str:
        """The stage that reads the field."""
        section = self.path.split(".")[0]
        return _STAGE_OF.get(section, section)

    @property
    def field(self) -> str:
        """The path as people write it in a recipe, without the kind of its section."""
        return ".".join(part for part in self.path.split(".") if part not in _KINDS)


_KINDS = ("head", "finetune", "rloo", "dpo")
_STAGE_OF = {"generate": "responses", "evaluate": "evaluation", "gate": "promotion", "world": "demonstrations"} | {
    "seed": "demonstrations",
    "campaign": "pairs",
}


def _head(section: str) -> list[Knob]:
    return [
        Knob(f"{section}.head.kind", "finetune"),
        Knob(f"{section}.head.hidden", 2),
        Knob(f"{section}.head.ngrams", 3),
        Knob(f"{section}.head.scale_spread", 0.0),
        Knob(f"{section}.head.side_spread", 0.0),
    ]


def _finetune(section: str) -> list[Knob]:
    under = {section: FINETUNE}
    return [
        Knob(f"{section}.finetune.kind", "head", under),
        Knob(f"{section}.finetune.epochs", 2.0, under),
        Knob(f"{section}.finetune.learning_rate", 0.01, under),
        Knob(f"{section}.finetune.batch_size", 2, under),
        Knob(f"{section}.finetune.max_tokens", 8, under),
        Knob(f"{section}.finetune.lora_rank", 2, under),
        Knob(f"{section}.finetune.margin", 0.5, under),
        Knob(f"{section}.finetune.centring", 0.5, under),
        Knob(f"{section}.finetune.checkpoint_steps", 1, under, "checkpoints", "resuming changes no byte, by design"),
    ]


_COLLAPSE = "a look changes the policy only where it finds a collapse"
_FORWARDS = "how much is sampled at once changes no answer, by design"
KNOBS: tuple[Knob, ...] = (
    Knob("name", "another", seen="report", why="a name changes no artifact"),
    Knob("seed", 1),
    Knob("world", "pantry"),
    Knob("prompts.count", 60),
    Knob("prompts.split", (0.4, 0.3, 0.3)),
    Knob("prompts.near", 0.2),
    Knob("prompts.near_duplicates", "drop", {"prompts": {"count": 90, "near": 0.2}}),
    Knob("prompts.max_chars", 20, seen="import", why="a world's prompts are taken as they are"),
    Knob("prompts.html", "keep", seen="import", why="a world's prompts are taken as they are"),
    Knob("demonstrations.path", "demonstrations.jsonl"),
    Knob("demonstrations.count", 100),
    Knob("sft.kind", "none", {"sft": {"model": "sft"}}),
    Knob("sft.model", "sft"),
    Knob("sft.tiny.width", 16),
    Knob("sft.tiny.layers", 2),
    Knob("sft.tiny.words", 6),
    Knob("sft.epochs", 1.0),
    Knob("sft.learning_rate", 0.01),
    Knob("sft.batch_size", 8),
    Knob("sft.max_tokens", 8),
    Knob("sft.lora_rank", 2),
    Knob("sft.checkpoint_steps", 7, seen="checkpoints", why="resuming changes no byte, by design"),
    Knob("generate.prompts", 12),
    Knob("generate.validation_share", 0.0),
    Knob("generate.responses", 2),
    Knob("generate.max_new_tokens", 3),
    Knob("generate.temperature", 0.3),
    Knob("generate.top_p", 0.2),
    Knob("generate.batch_size", 4, seen="forwards", why=_FORWARDS),
    Knob("generate.endpoint", "http://endpoint"),
    Knob("pairs.per_prompt", 2),
    Knob("pairs.most", 4, {"labels": {"per_round": 4}}),
    Knob("pairs.overlap", 2),
    Knob("pairs.k", 3),
    Knob("pairs.near", 0.05),
    Knob("labels.per_round", 76, {"labels": {"per_round": 75}}, "waiting", "labelling makes no artifact"),
    *(
        Knob(f"campaign.{name}", to, seen="asked", why="it changes what people are asked, and no artifact")
        for name, to in {
            "preset": "hh",
            "grades": 1,
            "ties": False,
            "both_bad": False,
            "criteria": ({"name": "helpful"},),
            "acceptable": True,
            "safety_bins": True,
            "edit": False,
            "rationale": "demanded",
            "guideline": "Be fair.",
            "most_per_annotator": 1,
            "most_per_day": 2,
            "break_after_minutes": 5,
            "gold_share": 0.99,
            "qualification": 1,
        }.items()
    ),
    Knob("campaign.objective", "safe"),
    Knob("campaign.pass_share", 0.0, {"campaign": {"qualification": 1}}, "asked", "it changes who may go on"),
    Knob("snapshot.min_votes", 2),
    Knob("snapshot.ties", "drop"),
    Knob("snapshot.smoothing", 1.0),
    Knob("snapshot.objective", "safe", seen="taken", why="of the other objective the micro round has no pair"),
    *_head("reward"),
    *_finetune("reward"),
    *_head("referee"),
    *_finetune("referee"),
    Knob("policy.rloo.kind", "dpo"),
    Knob("policy.rloo.steps", 2),
    Knob("policy.rloo.prompts_per_step", 4),
    Knob("policy.rloo.samples", 2),
    Knob("policy.rloo.learning_rate", 0.05),
    Knob("policy.rloo.beta", 2.0),
    Knob("policy.rloo.pessimism", 5.0),
    Knob("policy.rloo.max_new_tokens", 3),
    Knob("policy.rloo.max_prompt_tokens", 2),
    Knob("policy.rloo.missing_eos_penalty", 20.0, {"policy": {"max_new_tokens": 3}}),
    Knob("policy.rloo.probe_steps", 3, seen="checkpoints", why=_COLLAPSE),
    Knob("policy.rloo.probe_prompts", 2, seen="metrics", why=_COLLAPSE),
    Knob("policy.rloo.kl_budget", 1e-9),
    Knob("policy.rloo.length_budget", 1.0001),
    Knob("policy.rloo.lora_rank", 2),
    Knob("policy.dpo.kind", "rloo", {"policy": DPO}),
    Knob("policy.dpo.beta", 1.0, {"policy": DPO}),
    Knob("policy.dpo.learning_rate", 0.01, {"policy": DPO}),
    Knob("policy.dpo.epochs", 1.0, {"policy": DPO}),
    Knob("policy.dpo.batch_size", 2, {"policy": DPO}),
    Knob("policy.dpo.label_smoothing", 0.3, {"policy": DPO}),
    Knob("policy.dpo.max_tokens", 8, {"policy": DPO}),
    Knob("policy.dpo.lora_rank", 2, {"policy": DPO}),
    Knob("policy.dpo.checkpoint_steps", 1, {"policy": DPO}, "checkpoints", "resuming changes no byte, by design"),
    Knob("evaluate.prompts", 5),
    Knob("evaluate.samples", 3),
    Knob("evaluate.max_new_tokens", 3),
    Knob("evaluate.temperature", 0.3),
    Knob("evaluate.batch_size", 4, seen="forwards", why=_FORWARDS),
    Knob("gate.win_rate", 0.6),
    Knob("gate.min_prompts", 500),
    Knob("gate.max_kl", 5.0),
    Knob("gate.max_length_ratio", 1.05),
    Knob("gate.min_length_ratio", 0.99, seen="brief", why="only answers that are too short show it"),
    Knob("gate.max_repetition", 0.01),
    Knob("gate.max_unfinished", 0.01),
    Knob("gate.min_agreement", 0.9),
)

EVALUATED = {
    "prompts": 200, "win_rate": 0.62, "win_rate_ci": [0.55, 0.69], "win_rate_champion": 0.62,
    "win_rate_champion_ci": [0.55, 0.69], "kl": 8.0, "length": 11.0, "length_sft": 10.0, "repetition": 0.10,
    "repetition_sft": 0.05, "finished": 0.90, "finished_sft": 0.95, "agreement": 0.7, "agreement_sft": 0.7,
}  # fmt: skip
"""Figures of a candidate that the default gate promotes, and that every tighter one refuses."""


def every_field(model: type[BaseModel] = Recipe, prefix: str = "") -> list[str]:
    """Every field of a recipe as a dotted path; the kinds of a section have paths of their own."""
    paths = []
    for name, about in model.model_fields.items():
        kinds = models_in(about.annotation)
        if not kinds:
            paths.append(prefix + name)
        for kind in kinds:
            tag = f"{kind.model_fields['kind'].default}." if len(kinds) > 1 else ""
            paths += every_field(kind, f"{prefix}{name}.{tag}")
    return paths


def models_in(annotation: Any) -> list[type[BaseModel]]:
    """The sections that a field may hold."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    if get_origin(annotation) is tuple:  # a list of models is one field
        return []
    return [model for argument in get_args(annotation) for model in models_in(argument)]
