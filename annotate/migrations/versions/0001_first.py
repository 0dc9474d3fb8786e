"""The first schema: all tables, the append-only triggers, and the trigger that counts labels."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

APPEND_ONLY = ("label", "review", "artifact", "artifact_parent", "snapshot_label", "promotion", "audit")
OPEN, LEASED = sa.text("state = 'open'"), sa.text("state = 'leased'")

# What a new row of `label` adds to its annotator's counts; {row} is the row. A skip is a label with a reason, a
# retraction takes back what it retracts and has its reason, a revision replaces.
LABELS = (
    "CASE WHEN {row}.skip_reason IS NOT NULL THEN 0 WHEN {row}.retracted THEN -1 "
    "WHEN {row}.supersedes IS NOT NULL THEN 0 ELSE 1 END"
)
SKIPS = "CASE WHEN {row}.skip_reason IS NULL THEN 0 WHEN {row}.retracted THEN -1 ELSE 1 END"
ADD = (
    "ON CONFLICT (round, annotator_id) DO UPDATE "
    "SET labels = tally.labels + excluded.labels, skips = tally.skips + excluded.skips;"
)


def upgrade() -> None:
    _tables()
    if op.get_bind().dialect.name == "postgresql":
        _postgresql_triggers()
    else:
        _sqlite_triggers()


def _sqlite_triggers() -> None:
    for table in APPEND_ONLY:
        for verb in ("update", "delete"):
            op.execute(
                f"CREATE TRIGGER {table}_no_{verb} BEFORE {verb} ON {table} "
                f"BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END"
            )
    op.execute(
        "CREATE TRIGGER label_tally AFTER INSERT ON label BEGIN "
        "INSERT INTO tally (round, annotator_id, labels, skips) "
        f"SELECT pair.round, NEW.annotator_id, {LABELS.format(row='NEW')}, {SKIPS.format(row='NEW')} "
        f"FROM pair WHERE pair.id = NEW.pair_id {ADD} END"
    )


def _postgresql_triggers() -> None:
    op.execute(
        "CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE EXCEPTION '% is append-only', TG_TABLE_NAME; END $$"
    )
    for table in APPEND_ONLY:
        for verb in ("update", "delete"):
            op.execute(
                f"CREATE TRIGGER {table}_no_{verb} BEFORE {verb} ON {table} "
                "FOR EACH ROW EXECUTE FUNCTION refuse_change()"
            )
        op.execute(
            f"CREATE TRIGGER {table}_no_truncate BEFORE TRUNCATE ON {table} "
            "FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()"
        )
    # Once a statement, not once a row: a bulk import by one annotator would rewrite one row thousands of times.
    op.execute(
        "CREATE FUNCTION count_labels() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        "INSERT INTO tally (round, annotator_id, labels, skips) "
        f"SELECT pair.round, added.annotator_id, sum({LABELS.format(row='added')}), sum({SKIPS.format(row='added')}) "
        "FROM added JOIN pair ON pair.id = added.pair_id GROUP BY 1, 2 ORDER BY 1, 2 "
        f"{ADD} RETURN NULL; END $$"
    )
    op.execute(
        "CREATE TRIGGER label_tally AFTER INSERT ON label REFERENCING NEW TABLE AS added "
        "FOR EACH STATEMENT EXECUTE FUNCTION count_labels()"
    )


def _tables() -> None:
    op.create_table(
        "annotator",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("role", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("active", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "artifact",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("stage", sa.String(), nullable=False),
        sa.Column("round", sa.Integer(), nullable=False),
        sa.Column("config", sa.JSON(), nullable=False),
        sa.Column("metrics", sa.JSON(), nullable=False),
        sa.Column("content_hash", sa.String(), nullable=False),
        sa.Column("path", sa.String(), nullable=False),
        sa.Column("git_sha", sa.String(), nullable=False),
        sa.Column("seconds", sa.Float(), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_artifact_round", "artifact", ["round"], unique=False)
    op.create_index("ix_artifact_stage", "artifact", ["stage"], unique=False)
    op.create_table(
        "audit",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("actor", sa.String(), nullable=False),
        sa.Column("action", sa.String(), nullable=False),
        sa.Column("subject", sa.String(), nullable=False),
        sa.Column("detail", sa.JSON(), nullable=False),
        sa.Column("previous_hash", sa.String(), nullable=False),
        sa.Column("hash", sa.String(), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("hash"),
        sa.UniqueConstraint("previous_hash"),
    )
    op.create_table(
        "guideline",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("text", sa.String(), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "promotion",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("artifact_id", sa.String(), nullable=False),
        sa.Column("policy_id", sa.String(), nullable=False),
        sa.Column("champion_id", sa.String(), nullable=False),
        sa.Column("round", sa.Integer(), nullable=False),
        sa.Column("verdict", sa.String(), nullable=False),
        sa.Column("evidence", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_promotion_artifact_id", "promotion", ["artifact_id"], unique=False)
    op.create_table(
        "prompt",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("messages", sa.JSON(), nullable=False),
        sa.Column("text", sa.String(), nullable=False),
        sa.Column("source", sa.String(), nullable=False),
        sa.Column("family", sa.String(), nullable=False),
        sa.Column("group", sa.String(), nullable=False),
        sa.Column("split", sa.String(), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_prompt_group", "prompt", ["group"], unique=False)
    op.create_index("ix_prompt_split", "prompt", ["split"], unique=False)
    op.create_table(
        "queue_state",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("batches", sa.Integer(), nullable=False),
        sa.Column("returned", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "review",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("label_uuid", sa.String(), nullable=True),
        sa.Column("pair_id", sa.String(), nullable=True),
        sa.Column("verdict", sa.String(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("reviewer_id", sa.String(), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_review_label_uuid", "review", ["label_uuid"], unique=False)
    op.create_index("ix_review_pair_id", "review", ["pair_id"], unique=False)
    op.create_table(
        "round_size",
        sa.Column("round", sa.Integer(), nullable=False),
        sa.Column("pairs", sa.Integer(), nullable=False),
        sa.Column("slots", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("round"),
    )
    op.create_table(
        "tally",
        sa.Column("round", sa.Integer(), nullable=False),
        sa.Column("annotator_id", sa.String(), nullable=False),
        sa.Column("labels", sa.Integer(), nullable=False),
        sa.Column("skips", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("round", "annotator_id"),
    )
    op.create_table(
        "artifact_parent",
        sa.Column("artifact_id", sa.String(), nullable=False),
        sa.Column("parent_id", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(
            ["artifact_id"],
            ["artifact.id"],
        ),
        sa.ForeignKeyConstraint(
            ["parent_id"],
            ["artifact.id"],
        ),
        sa.PrimaryKeyConstraint("artifact_id", "parent_id"),
    )
    op.create_index("ix_artifact_parent_parent_id", "artifact_parent", ["parent_id"], unique=False)
    op.create_table(
        "identity",
        sa.Column("annotator_id", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("password_hash", sa.String(), nullable=True),
        sa.ForeignKeyConstraint(
            ["annotator_id"],
            ["annotator.id"],
        ),
        sa.PrimaryKeyConstraint("annotator_id"),
        sa.UniqueConstraint("name"),
    )
    op.create_table(
        "pair",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("prompt_id", sa.String(), nullable=False),
        sa.Column("round", sa.Integer(), nullable=False),
        sa.Column("objective", sa.String(), nullable=False),
        sa.Column("strategy", sa.String(), nullable=False),
        sa.Column("propensity", sa.Float(), nullable=True),
        sa.Column("acquisition", sa.Float(), nullable=True),
        sa.Column("gold_response_id", sa.String(), nullable=True),
        sa.Column("overlap", sa.Integer(), nullable=False),
        sa.Column("seed", sa.Integer(), nullable=False),
        sa.Column("artifact_id", sa.String(), nullable=True),
        sa.Column("source", sa.String(), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.ForeignKeyConstraint(
            ["prompt_id"],
            ["prompt.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_pair_artifact_id", "pair", ["artifact_id"], unique=False)
    op.create_index("ix_pair_prompt_id", "pair", ["prompt_id"], unique=False)
    op.create_index("ix_pair_round", "pair", ["round"], unique=False)
    op.create_table(
        "queue_cursor",
        sa.Column("annotator_id", sa.String(), nullable=False),
        sa.Column("priority", sa.BigInteger(), nullable=False),
        sa.Column("batches", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["annotator_id"],
            ["annotator.id"],
        ),
        sa.PrimaryKeyConstraint("annotator_id"),
    )
    op.create_table(
        "response",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("prompt_id", sa.String(), nullable=False),
        sa.Column("text", sa.String(), nullable=False),
        sa.Column("model", sa.String(), nullable=False),
        sa.Column("artifact_id", sa.String(), nullable=True),
        sa.Column("sampling", sa.JSON(), nullable=False),
        sa.Column("logprob", sa.Float(), nullable=True),
        sa.Column("tokens", sa.Integer(), nullable=True),
        sa.Column("finished", sa.Boolean(), nullable=True),
        sa.Column("source", sa.String(), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.ForeignKeyConstraint(
            ["prompt_id"],
            ["prompt.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_response_artifact_id", "response", ["artifact_id"], unique=False)
    op.create_index("ix_response_prompt_id", "response", ["prompt_id"], unique=False)
    op.create_table(
        "token",
        sa.Column("hash", sa.String(), nullable=False),
        sa.Column("annotator_id", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("expires_at", sa.Float(), nullable=True),
        sa.Column("revoked_at", sa.Float(), nullable=True),
        sa.ForeignKeyConstraint(
            ["annotator_id"],
            ["annotator.id"],
        ),
        sa.PrimaryKeyConstraint("hash"),
    )
    op.create_index("ix_token_annotator_id", "token", ["annotator_id"], unique=False)
    op.create_table(
        "label",
        sa.Column("uuid", sa.String(), nullable=False),
        sa.Column("slot_id", sa.Integer(), nullable=True),
        sa.Column("pair_id", sa.String(), nullable=False),
        sa.Column("annotator_id", sa.String(), nullable=False),
        sa.Column("ranking", sa.JSON(), nullable=False),
        sa.Column("strength", sa.Integer(), nullable=True),
        sa.Column("both_bad", sa.Boolean(), nullable=False),
        sa.Column("criteria", sa.JSON(), nullable=False),
        sa.Column("rationale", sa.String(), nullable=False),
        sa.Column("edited", sa.JSON(), nullable=False),
        sa.Column("flags", sa.JSON(), nullable=False),
        sa.Column("skip_reason", sa.String(), nullable=True),
        sa.Column("active_ms", sa.Integer(), nullable=True),
        sa.Column("order_shown", sa.JSON(), nullable=False),
        sa.Column("guideline_id", sa.String(), nullable=True),
        sa.Column("supersedes", sa.String(), nullable=True),
        sa.Column("retracted", sa.Boolean(), nullable=False),
        sa.Column("source", sa.String(), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.ForeignKeyConstraint(
            ["annotator_id"],
            ["annotator.id"],
        ),
        sa.ForeignKeyConstraint(
            ["pair_id"],
            ["pair.id"],
        ),
        sa.PrimaryKeyConstraint("uuid"),
    )
    op.create_index("ix_label_created_at", "label", ["created_at"], unique=False)
    op.create_index("ix_label_slot_id", "label", ["slot_id"], unique=False)
    op.create_index("label_of_annotator", "label", ["annotator_id", "created_at"], unique=False)
    op.create_index("label_of_pair", "label", ["pair_id", "annotator_id"], unique=False)
    op.create_index("label_supersedes", "label", ["supersedes"], unique=True)
    op.create_table(
        "pair_response",
        sa.Column("pair_id", sa.String(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("response_id", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(
            ["pair_id"],
            ["pair.id"],
        ),
        sa.ForeignKeyConstraint(
            ["response_id"],
            ["response.id"],
        ),
        sa.PrimaryKeyConstraint("pair_id", "position"),
    )
    op.create_index("ix_pair_response_response_id", "pair_response", ["response_id"], unique=False)
    op.create_table(
        "slot",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("pair_id", sa.String(), nullable=False),
        sa.Column("replica", sa.Integer(), nullable=False),
        sa.Column("priority", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("annotator_id", sa.String(), nullable=True),
        sa.Column("order_shown", sa.JSON(), nullable=True),
        sa.Column("claimed_at", sa.Float(), nullable=True),
        sa.Column("lease_until", sa.Float(), nullable=True),
        sa.ForeignKeyConstraint(
            ["pair_id"],
            ["pair.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("slot_leased", "slot", ["lease_until"], unique=False, sqlite_where=LEASED, postgresql_where=LEASED)
    op.create_index("slot_of_annotator", "slot", ["annotator_id", "state"], unique=False)
    op.create_index("slot_of_pair", "slot", ["pair_id", "replica"], unique=True)
    op.create_index("slot_one_per_annotator", "slot", ["pair_id", "annotator_id"], unique=True)
    op.create_index("slot_open", "slot", ["priority", "id"], unique=False, sqlite_where=OPEN, postgresql_where=OPEN)
    op.create_table(
        "snapshot_label",
        sa.Column("artifact_id", sa.String(), nullable=False),
        sa.Column("label_uuid", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(
            ["artifact_id"],
            ["artifact.id"],
        ),
        sa.ForeignKeyConstraint(
            ["label_uuid"],
            ["label.uuid"],
        ),
        sa.PrimaryKeyConstraint("artifact_id", "label_uuid"),
    )
    op.create_index("ix_snapshot_label_label_uuid", "snapshot_label", ["label_uuid"], unique=False)
