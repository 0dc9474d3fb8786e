"""The reward model's sections of the recipe, one for each kind."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class HeadSection(BaseModel):
    """A Bayesian Bradley-Terry head on frozen features: for few labels, refitted within a second, with uncertainty."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["head"] = "head"
    hidden: int = Field(default=96, ge=0)
    """Principal directions kept of the language model's hidden states; 0 leaves the language model out."""
    ngrams: int = Field(default=384, ge=0)
    """Principal directions kept of the weighted n-grams; 0 leaves them out."""
    scale_spread: float = Field(default=0.35, ge=0)
    """Prior standard deviation of an annotator's sharpness around 1; 0 treats all annotators alike."""
    side_spread: float = Field(default=0.3, ge=0)
    """Prior standard deviation of an annotator's bias for the left answer, in nats; 0 leaves sides out."""


class FinetuneSection(BaseModel):
    """A scalar head on the language model, trained end to end: for many labels and real models."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["finetune"] = "finetune"
    epochs: float = Field(default=1.0, gt=0)
    """Passes over the preferences; a second one overfits as a rule."""
    learning_rate: float = Field(default=1e-3, gt=0)
    """Peak of a linear schedule; a real model wants about 1e-5, with LoRA 1e-4."""
    batch_size: int = Field(default=16, ge=1)
    """Preferences a step."""
    max_tokens: int = Field(default=512, ge=8)
    """Longest prompt and answer together; the prompt is cut from the left."""
    lora_rank: int = Field(default=0, ge=0)
    """Rank of LoRA on all linear layers, merged at the end; 0 trains every weight."""
    margin: float = Field(default=0.0, ge=0)
    """Nats by which chosen should lead for each step of strength, 0 to 3, that the annotators gave."""
    centring: float = Field(default=0.01, ge=0)
    """Weight of the squared sum of a pair's rewards, which holds rewards around zero."""
    checkpoint_steps: int = Field(default=100, ge=1)
    """Optimizer steps between checkpoints, from which a killed run goes on."""
