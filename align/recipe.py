"""The recipe: one YAML file that describes a whole loop. Every section is a frozen model with vetted defaults.

A section that belongs to one stage stands beside that stage's code; this file only gathers them, reads the YAML and
explains what is wrong with it. Nothing here imports torch.
"""

import ast
import difflib
import inspect
import textwrap
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from align.algorithms.dpo import DpoSection
from align.algorithms.rloo import RlooSection
from align.algorithms.sft import SftSection
from align.evaluate import EvaluateSection
from align.promote import GateSection
from annotate.campaign import PRESETS, CampaignSection
from annotate.errors import BadRecipe
from annotate.pairs import PairsSection
from annotate.prompts import PromptsSection
from annotate.snapshot import SnapshotSection
from reward.config import FinetuneSection, HeadSection

SHIPPED = Path(__file__).parent.parent / "configs"

RewardSection = Annotated[HeadSection | FinetuneSection, Field(discriminator="kind")]
PolicySection = Annotated[RlooSection | DpoSection, Field(discriminator="kind")]


class Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class DemonstrationsSection(Section):
    """What the first policy is fine-tuned on."""

    path: str | None = None
    """JSONL rows {prompt, response}; None takes them from the world."""
    count: int = Field(default=6000, ge=1)
    """How many to take."""


class GenerateSection(Section):
    """What the champion is asked at the start of a round, and how it samples."""

    prompts: int = Field(default=192, ge=1)
    """Prompts a round, half as many again as pairs; up to 4 times as many where under 2/3 get answers that differ."""
    validation_share: float = Field(default=0.2, ge=0, lt=1)
    """Share of them from the validation split, whose labels train the referee alone."""
    responses: int = Field(default=4, ge=2)
    """Responses a prompt."""
    max_new_tokens: int = Field(default=64, ge=1)
    """Longest response in tokens."""
    temperature: float = Field(default=1.0, gt=0)
    """Sampling temperature."""
    top_p: float = Field(default=1.0, gt=0, le=1)
    """Nucleus sampling: the smallest set of tokens with this much probability."""
    batch_size: int = Field(default=256, ge=1)
    """Responses sampled at once."""
    endpoint: str | None = None
    """URL of an OpenAI-compatible server that answers in the champion's place; None samples in process."""


class LabelsSection(Section):
    """How many labels a round waits for."""

    per_round: int = Field(default=128, ge=1)
    """Labels that must be in before the round goes on."""


class Recipe(Section):
    """A whole loop. `world` stands in for people and prompts; without one, prompts and labels are imported or made."""

    name: str = "loop"
    """What the loop is called in tables and reports."""
    seed: int = 0
    """Every stage's randomness derives from this."""
    world: str | None = None
    """A shipped world by name, or the path of a Python file; None for real prompts and people."""
    prompts: PromptsSection = PromptsSection()
    demonstrations: DemonstrationsSection = DemonstrationsSection()
    sft: SftSection = SftSection()
    generate: GenerateSection = GenerateSection()
    pairs: PairsSection = PairsSection()
    labels: LabelsSection = LabelsSection()
    campaign: CampaignSection = CampaignSection()
    snapshot: SnapshotSection = SnapshotSection()
    reward: RewardSection = HeadSection()
    referee: RewardSection = HeadSection()
    policy: PolicySection = RlooSection()
    evaluate: EvaluateSection = EvaluateSection()
    gate: GateSection = GateSection()

    @model_validator(mode="before")
    @classmethod
    def _default_kinds(cls, fields: Any) -> Any:
        if not isinstance(fields, dict):
            return fields
        filled = dict(fields)
        for name, kind in {"reward": "head", "referee": "head", "policy": "rloo"}.items():
            if isinstance(filled.get(name), dict):
                filled[name] = {"kind": kind, **filled[name]}
        return filled

    @model_validator(mode="after")
    def _enough_pairs(self) -> "Recipe":
        slots = self.pairs.most * self.pairs.overlap
        if self.labels.per_round > slots:
            raise ValueError(
                f"labels.per_round waits for {self.labels.per_round} labels, but pairs.most times pairs.overlap allows "
                f"{slots}: set pairs.most={-(-self.labels.per_round // self.pairs.overlap)} too"
            )
        return self


def load_recipe(path: Path, overrides: list[str] | None = None) -> Recipe:
    """Read a recipe from YAML and apply overrides such as "policy.beta=0.2".

    Raises BadRecipe naming the field, what is wrong with it, and the nearest valid one.
    """
    return parse_recipe(read_yaml(path), overrides, where=str(path), folder=path.parent)


def read_yaml(path: Path) -> dict[str, Any]:
    """The YAML mapping in a file. Raises BadRecipe when it is missing, unreadable or no mapping."""
    try:
        text = path.read_text(encoding="utf-8")
        if text.count("[") + text.count("{") > 1000:  # nested, they cost the parser their square
            raise ValueError("more brackets than any recipe has")
        fields = yaml.safe_load(text)
    except FileNotFoundError as error:
        raise BadRecipe("there is no such recipe", where=str(path), next=_shipped_hint()) from error
    except (OSError, UnicodeDecodeError) as error:
        raise BadRecipe(f"cannot be read: {error}", where=str(path)) from error
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or str(error).splitlines()[0]
        raise BadRecipe(f"not valid YAML: {problem}", where=f"{path}{line}") from error
    if fields is None:
        return {}
    if not isinstance(fields, dict):
        raise BadRecipe(f"a recipe is a mapping of sections, found {type(fields).__name__}", where=str(path))
    return fields


def parse_recipe(
    fields: dict[str, Any], overrides: list[str] | None = None, *, where: str = "recipe", folder: Path = Path()
) -> Recipe:
    """Check the fields of a recipe. Raises BadRecipe as `load_recipe` does.

    folder: where the guideline's file is looked for, before the working directory.
    """
    fields = _deep_copy(fields)
    if any(override.partition("=")[0].strip() == "campaign.preset" for override in overrides or []):
        _empty_preset(fields)
    for override in overrides or []:
        _override(fields, override)
    _read_guideline(fields, folder, where)
    try:
        return Recipe.model_validate(fields)
    except ValidationError as error:
        raise BadRecipe(
            "; ".join(_explain(problem) for problem in error.errors()[:3]),
            where=where,
            next="Run: trueloop recipe",
        ) from error


def find_recipe(name: str) -> Path:
    """The path of a shipped recipe by name, or of a file. Raises BadRecipe naming the shipped ones."""
    path = Path(name)
    if path.suffix in (".yaml", ".yml"):
        if path.is_file():
            return path
    elif (SHIPPED / f"{name}.yaml").is_file():
        return SHIPPED / f"{name}.yaml"
    near = difflib.get_close_matches(name, shipped_recipes(), n=1)
    raise BadRecipe(f"no recipe '{name}'" + (f", did you mean '{near[0]}'?" if near else ""), next=_shipped_hint())


def write_recipe(recipe: Recipe) -> str:
    """The recipe as YAML with every field, each under its one line of doc; reads back as the same recipe."""
    return "\n".join(_lines_of(recipe, 0)) + "\n"


def _lines_of(section: BaseModel, depth: int) -> list[str]:
    lines, docs, indent = [], field_docs(type(section)), "  " * depth
    for name in type(section).model_fields:
        value = getattr(section, name)
        if docs.get(name):
            lines.append(f"{indent}# {docs[name]}")
        if isinstance(value, BaseModel):
            lines += [f"{indent}{name}:", *_lines_of(value, depth + 1)]
        else:
            plain = section.model_dump(mode="json", include={name})[name]
            text = yaml.safe_dump(plain, default_flow_style=True, allow_unicode=True, width=2**20)
            lines.append(f"{indent}{name}: {text.removesuffix('...' + chr(10)).strip()}")
    return lines


def field_docs(model: type[BaseModel]) -> dict[str, str]:
    """The line of doc that stands under each field of a section, by the field's name."""
    docs: dict[str, str] = {}
    for kind in reversed(model.__mro__):
        if kind in (BaseModel, object) or not issubclass(kind, BaseModel):
            continue
        body = ast.parse(textwrap.dedent(inspect.getsource(kind))).body[0]
        assert isinstance(body, ast.ClassDef)
        for field, doc in pairwise(body.body):
            match field, doc:
                case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                    docs[name] = " ".join(text.split())
    return docs


def shipped_recipes() -> list[str]:
    """Names of the recipes that come with Trueloop."""
    return sorted(path.stem for path in SHIPPED.glob("*.yaml"))


def field_paths(model: type[BaseModel] = Recipe, prefix: str = "") -> list[str]:
    """Every field of a recipe as a dotted path, all kinds of a section together."""
    paths = []
    for name, field in model.model_fields.items():
        sections = _models_in(field.annotation)
        paths += [prefix + name] if not sections else []
        for kind in sections:
            paths += field_paths(kind, f"{prefix}{name}.")
    return sorted(set(paths))


def names_file(guideline: Any) -> bool:
    """Whether a guideline is the path of a file rather than its text."""
    return isinstance(guideline, str) and guideline.endswith(".md") and "\n" not in guideline


def _read_guideline(fields: dict[str, Any], folder: Path, where: str) -> None:
    """Put the text of the guideline's file in place of its path."""
    section = fields.get("campaign")
    if not isinstance(section, dict) or not names_file(section.get("guideline")):
        return
    name = section["guideline"]
    path = next((one for one in (folder / name, Path(name)) if one.is_file()), None)
    try:
        if path is None:
            raise FileNotFoundError("there is no such file")
        section["guideline"] = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BadRecipe(
            f"campaign.guideline: {name} cannot be read: {error}",
            where=where,
            next="Give the guideline's text, or the path of a Markdown file",
        ) from error


def _empty_preset(fields: dict[str, Any]) -> None:
    """Take out what the preset had filled in, so that another one fills it anew; what differs from it stays."""
    section = fields.get("campaign")
    preset = section.get("preset", "none") if isinstance(section, dict) else None
    if isinstance(section, dict) and preset in PRESETS:
        filled = CampaignSection(preset=preset).model_dump(mode="json", include=set(PRESETS[preset]))
        for name, value in filled.items():
            if section.get(name) == value:
                del section[name]


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    if get_origin(annotation) is tuple:  # a list of models is one field
        return []
    return [model for argument in get_args(annotation) for model in _models_in(argument)]


def _override(fields: dict[str, Any], override: str) -> None:
    path, separator, text = override.partition("=")
    names = path.strip().split(".")
    if not separator or not all(names):
        raise BadRecipe(f"an override reads section.field=value, found '{override}'", next="Run: trueloop recipe")
    try:
        value = yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise BadRecipe(f"'{text}' is no value", where=path, next="Run: trueloop recipe") from error
    for name in names[:-1]:
        inner = fields.setdefault(name, {})
        if not isinstance(inner, dict):
            raise BadRecipe(f"'{name}' is no section", where=override, next="Run: trueloop recipe")
        fields = inner
    fields[names[-1]] = value


def _explain(problem: Any) -> str:
    location = [str(part) for part in problem["loc"]]
    if not location and problem["type"] == "value_error":
        return str(problem["ctx"]["error"])
    kind = _KINDS.get((location[0], location[1])) if len(location) > 1 else None
    names = [location[0], *location[2:]] if kind else location  # people do not write the kind into the path
    path = ".".join(names) or "recipe"
    if problem["type"] == "extra_forbidden":
        if kind:
            valid = field_paths(kind, f"{names[0]}.")
        else:
            valid = [one for one in field_paths() if one.startswith(path.rpartition(".")[0])]
        near = difflib.get_close_matches(path, [*valid, *Recipe.model_fields], n=1, cutoff=0.5)
        return f"there is no field '{path}'" + (f", did you mean '{near[0]}'?" if near else "")
    if problem["type"] in ("union_tag_invalid", "union_tag_not_found"):
        return f"{path}.kind: {problem['msg']}"
    return f"{path}: {problem['msg']}, found {problem['input']!r:.60}"


_KINDS: dict[tuple[str, str], type[BaseModel]] = {
    (section, str(tag)): member
    for section, union in (("reward", RewardSection), ("referee", RewardSection), ("policy", PolicySection))
    for member in get_args(get_args(union)[0])
    for tag in get_args(member.model_fields["kind"].annotation)
}


def _deep_copy(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: _deep_copy(value) if isinstance(value, dict) else value for name, value in fields.items()}


def _shipped_hint() -> str:
    return f"Shipped recipes: {', '.join(shipped_recipes())}; or name a .yaml file"
