"""The tables: facts, most of them append-only; what may be done with them is said in queue.py and ledger.py.

Times are seconds since 1970 (UTC). Ids of prompts, responses and pairs are content hashes; an artifact's id is its
fingerprint. Rows name responses, never "A" or "B". The schema itself is made by the migrations, from these models.
"""

from typing import Any

from sqlalchemy import JSON, BigInteger, Column, Index, text
from sqlmodel import Field, SQLModel

APPEND_ONLY = (
    "label",
    "review",
    "artifact",
    "artifact_parent",
    "snapshot_label",
    "promotion",
    "audit",
    "guideline",
    "campaign",
    "gold",
)
"""Tables whose rows triggers protect from UPDATE and DELETE: a changed mind is a new row that supersedes."""


def json_column() -> Any:
    return Field(sa_column=Column(JSON, nullable=False))


class Prompt(SQLModel, table=True):
    """What a model is asked; `split` belongs to the prompt's near-duplicate group and never changes."""

    id: str = Field(primary_key=True)
    messages: list[dict[str, Any]] = json_column()
    text: str
    source: str = ""
    family: str = Field(default="", index=True)
    group: str = Field(index=True)
    split: str = Field(index=True)
    created_at: float


class Response(SQLModel, table=True):
    """One answer to a prompt, and how it came about: the model, its sampling, its log-probability (nats)."""

    id: str = Field(primary_key=True)
    prompt_id: str = Field(foreign_key="prompt.id", index=True)
    text: str
    model: str = ""
    artifact_id: str | None = Field(default=None, index=True)
    sampling: dict[str, Any] = json_column()
    logprob: float | None = None
    tokens: int | None = None
    finished: bool | None = None
    source: str = ""
    created_at: float


class Pair(SQLModel, table=True):
    """k >= 2 responses to one prompt to be compared, with the probability that this pair was chosen."""

    id: str = Field(primary_key=True)
    prompt_id: str = Field(foreign_key="prompt.id", index=True)
    round: int = Field(index=True)
    objective: str = "helpful"
    strategy: str = "random"
    propensity: float | None = None
    acquisition: float | None = None
    gold_response_id: str | None = None
    overlap: int = 1
    seed: int = 0
    artifact_id: str | None = Field(default=None, index=True)
    source: str = ""
    created_at: float


class PairResponse(SQLModel, table=True):
    """The responses of a pair, in canonical order; the order shown belongs to the slot and the label."""

    __tablename__ = "pair_response"

    pair_id: str = Field(foreign_key="pair.id", primary_key=True)
    position: int = Field(primary_key=True)
    response_id: str = Field(foreign_key="response.id", index=True)


class Slot(SQLModel, table=True):
    """One of a pair's `overlap` places for a label: open, leased to one annotator for a while, done, or aside."""

    __table_args__ = (
        Index(
            "slot_open",
            "priority",
            "id",
            sqlite_where=text("state = 'open'"),
            postgresql_where=text("state = 'open'"),
        ),
        Index(
            "slot_leased",
            "lease_until",
            sqlite_where=text("state = 'leased'"),
            postgresql_where=text("state = 'leased'"),
        ),
        Index("slot_of_pair", "pair_id", "replica", unique=True),
        Index("slot_one_per_annotator", "pair_id", "annotator_id", unique=True),
        Index("slot_of_annotator", "annotator_id", "state"),
    )

    id: int | None = Field(default=None, primary_key=True)
    pair_id: str = Field(foreign_key="pair.id")
    replica: int = 0
    priority: int = Field(default=0, sa_type=BigInteger)
    state: str = "open"
    annotator_id: str | None = None
    order_shown: list[str] | None = Field(default=None, sa_column=Column(JSON, nullable=True))
    claimed_at: float | None = None
    lease_until: float | None = None


class Label(SQLModel, table=True):
    """One judgment: a full ranking of response ids, best first, ties sharing a list.

    A skip has a reason and no ranking; a revision names the label it supersedes; an undo is a revision that is
    `retracted`. Append-only.
    """

    __table_args__ = (
        Index("label_supersedes", "supersedes", unique=True),
        Index("label_of_pair", "pair_id", "annotator_id"),
        Index("label_of_annotator", "annotator_id", "created_at"),
        Index(
            "label_paced",
            "created_at",
            sqlite_where=text("skip_reason IS NULL AND NOT retracted"),
            postgresql_where=text("skip_reason IS NULL AND NOT retracted"),
        ),
    )

    uuid: str = Field(primary_key=True)
    slot_id: int | None = Field(default=None, index=True)
    pair_id: str = Field(foreign_key="pair.id")
    annotator_id: str = Field(foreign_key="annotator.id")
    ranking: list[list[str]] = json_column()
    strength: int | None = None
    both_bad: bool = False
    criteria: dict[str, Any] = json_column()
    rationale: str = ""
    edited: dict[str, str] = json_column()
    flags: list[str] = json_column()
    skip_reason: str | None = None
    active_ms: int | None = None
    order_shown: list[str] = json_column()
    guideline_id: str | None = None
    supersedes: str | None = None
    retracted: bool = False
    source: str = "app"
    created_at: float = Field(index=True)


class Catalog(SQLModel, table=True):
    """A narrow row a judgment or skip, in the order they came in, to browse a million by; a trigger keeps it.

    first: of its pair; the texts of the pair are to be found by it, in the search table `catalog_words`.
    """

    __table_args__ = (
        Index("catalog_of_pair", "pair_id", "id"),
        Index("catalog_of_annotator", "annotator_id", "id"),
        Index("catalog_both_bad", "id", sqlite_where=text("both_bad"), postgresql_where=text("both_bad")),
        Index("catalog_flagged", "id", sqlite_where=text("flagged"), postgresql_where=text("flagged")),
        Index("catalog_skipped", "id", sqlite_where=text("skipped"), postgresql_where=text("skipped")),
    )

    id: int | None = Field(default=None, primary_key=True)
    label_uuid: str
    pair_id: str
    annotator_id: str
    round: int
    objective: str
    split: str
    both_bad: bool
    flagged: bool
    skipped: bool
    first: bool


class Tally(SQLModel, table=True):
    """How many labels and skips of an annotator count in a round; a trigger on `label` keeps it."""

    round: int = Field(primary_key=True)
    annotator_id: str = Field(primary_key=True)
    labels: int = 0
    skips: int = 0


class RoundSize(SQLModel, table=True):
    """How many pairs a round has and how many labels they ask for; queue.add_pairs keeps it."""

    __tablename__ = "round_size"

    round: int = Field(primary_key=True)
    pairs: int = 0
    slots: int = 0


class QueueState(SQLModel, table=True):
    """One row: how often pairs were added (it dates every cursor) and how many slots came back by a skip."""

    __tablename__ = "queue_state"

    id: int = Field(default=1, primary_key=True)
    batches: int = 0
    returned: int = 0


class QueueCursor(SQLModel, table=True):
    """Where an annotator's search starts: no open slot before `priority` is for them, as of `batches`."""

    __tablename__ = "queue_cursor"

    annotator_id: str = Field(foreign_key="annotator.id", primary_key=True)
    priority: int = Field(sa_type=BigInteger)
    batches: int


class Review(SQLModel, table=True):
    """A reviewer's verdict on a label or a pair. Append-only."""

    id: int | None = Field(default=None, primary_key=True)
    label_uuid: str | None = Field(default=None, index=True)
    pair_id: str | None = Field(default=None, index=True)
    verdict: str
    reason: str = ""
    reviewer_id: str
    created_at: float


class Annotator(SQLModel, table=True):
    """Who labels, by pseudonym: role annotator|reviewer|lead|admin, kind human|simulated|model|imported."""

    id: str = Field(primary_key=True)
    role: str = "annotator"
    kind: str = "human"
    active: bool = True
    created_at: float


class Identity(SQLModel, table=True):
    """The personal data of an annotator, kept apart so that it can be blanked."""

    annotator_id: str = Field(foreign_key="annotator.id", primary_key=True)
    name: str = Field(unique=True)
    password_hash: str | None = None


class Token(SQLModel, table=True):
    """A bearer token or a browser session, stored as a hash."""

    hash: str = Field(primary_key=True)
    annotator_id: str = Field(foreign_key="annotator.id", index=True)
    kind: str = "token"
    created_at: float
    expires_at: float | None = None
    revoked_at: float | None = None


class Guideline(SQLModel, table=True):
    """One version of the instructions to annotators; its id is the hash of its text."""

    id: str = Field(primary_key=True)
    version: int
    text: str
    created_at: float


class Campaign(SQLModel, table=True):
    """What people are asked and under which rules, from its time on; the highest version counts. Append-only."""

    id: str = Field(primary_key=True)
    version: int = Field(unique=True)
    settings: dict[str, Any] = json_column()
    guideline_id: str | None = Field(default=None, foreign_key="guideline.id")
    author: str
    created_at: float


class Gold(SQLModel, table=True):
    """A pair whose answer is known: `use` is practice, control, or off; a pair's newest row counts. Append-only."""

    id: int | None = Field(default=None, primary_key=True)
    pair_id: str = Field(foreign_key="pair.id", index=True)
    ranking: list[list[str]] = json_column()
    explanation: str = ""
    use: str
    author: str = ""
    created_at: float


class Profile(SQLModel, table=True):
    """What an annotator says about themselves, the topics they do not want, and the settings of their page."""

    annotator_id: str = Field(foreign_key="annotator.id", primary_key=True)
    languages: list[str] = json_column()
    expertise: list[str] = json_column()
    opted_out: list[str] = json_column()
    settings: dict[str, Any] = json_column()
    updated_at: float


class Artifact(SQLModel, table=True):
    """What a stage made: its id is the fingerprint of all that went in. Append-only."""

    id: str = Field(primary_key=True)
    stage: str = Field(index=True)
    round: int = Field(index=True)
    config: dict[str, Any] = json_column()
    metrics: dict[str, Any] = json_column()
    content_hash: str
    path: str
    git_sha: str = ""
    seconds: float = 0
    created_at: float


class ArtifactParent(SQLModel, table=True):
    """An edge of the lineage: `artifact_id` was made from `parent_id`. Append-only."""

    __tablename__ = "artifact_parent"

    artifact_id: str = Field(foreign_key="artifact.id", primary_key=True)
    parent_id: str = Field(foreign_key="artifact.id", primary_key=True, index=True)


class SnapshotLabel(SQLModel, table=True):
    """Which labels a snapshot froze. Append-only."""

    __tablename__ = "snapshot_label"

    artifact_id: str = Field(foreign_key="artifact.id", primary_key=True)
    label_uuid: str = Field(foreign_key="label.uuid", primary_key=True, index=True)


class Promotion(SQLModel, table=True):
    """A verdict about a policy: promoted, rejected or rolled_back, and the champion from then on. Append-only."""

    id: int | None = Field(default=None, primary_key=True)
    artifact_id: str = Field(index=True)
    policy_id: str
    champion_id: str
    round: int
    verdict: str
    evidence: dict[str, Any] = json_column()
    created_at: float


class Audit(SQLModel, table=True):
    """Who did what, each row carrying the hash of the one before. Append-only."""

    id: int | None = Field(default=None, primary_key=True)
    actor: str
    action: str
    subject: str
    detail: dict[str, Any] = json_column()
    previous_hash: str = Field(unique=True)
    hash: str = Field(unique=True)
    created_at: float
