"""A catalog of labels to browse and search: one narrow row a label, and the words of each pair at its first label."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

COLUMNS = "label_uuid, pair_id, annotator_id, round, objective, split, both_bad, flagged, skipped, first"
# What a label's row says; {flags}: how many flags it has, {first}: whether it is its pair's first.
ROW = (
    "SELECT {new}.uuid, {new}.pair_id, {new}.annotator_id, pair.round, pair.objective, prompt.split, {new}.both_bad, "
    "{flags} > 0, {new}.skip_reason IS NOT NULL, {first} "
    "FROM pair JOIN prompt ON prompt.id = pair.prompt_id"
)
FIRST = "NOT EXISTS (SELECT 1 FROM catalog WHERE catalog.pair_id = {new}.pair_id)"
NO_WORDS = "NOT first AND rationale = ''"


def upgrade() -> None:
    op.create_table(
        "catalog",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("label_uuid", sa.String(), nullable=False),
        sa.Column("pair_id", sa.String(), nullable=False),
        sa.Column("annotator_id", sa.String(), nullable=False),
        sa.Column("round", sa.Integer(), nullable=False),
        sa.Column("objective", sa.String(), nullable=False),
        sa.Column("split", sa.String(), nullable=False),
        sa.Column("both_bad", sa.Boolean(), nullable=False),
        sa.Column("flagged", sa.Boolean(), nullable=False),
        sa.Column("skipped", sa.Boolean(), nullable=False),
        sa.Column("first", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("catalog_of_pair", "catalog", ["pair_id", "id"])
    op.create_index("catalog_of_annotator", "catalog", ["annotator_id", "id"])
    for name in ("both_bad", "flagged", "skipped"):
        where = sa.text(name)
        op.create_index(f"catalog_{name}", "catalog", ["id"], sqlite_where=where, postgresql_where=where)
    # The pace of labelling is counted from this index alone.
    paced = sa.text("skip_reason IS NULL AND NOT retracted")
    op.create_index("label_paced", "label", ["created_at"], sqlite_where=paced, postgresql_where=paced)
    if op.get_bind().dialect.name == "postgresql":
        _postgresql()
    else:
        _sqlite()


def _sqlite() -> None:
    op.execute("CREATE VIRTUAL TABLE catalog_words USING fts5(texts, reason, content='', tokenize='unicode61')")
    row = ROW.format(new="label", flags="json_array_length(label.flags)", first="row_number() OVER pairs = 1")
    op.execute(
        f"INSERT INTO catalog ({COLUMNS}) {row} JOIN label ON label.pair_id = pair.id WHERE NOT label.retracted "
        "WINDOW pairs AS (PARTITION BY label.pair_id ORDER BY label.created_at, label.uuid) "
        "ORDER BY label.created_at, label.uuid"
    )
    words = (
        "(SELECT CASE WHEN catalog.first THEN prompt.text || char(10) || (SELECT group_concat(response.text, char(10)) "
        "FROM pair_response JOIN response ON response.id = pair_response.response_id "
        "WHERE pair_response.pair_id = pair.id) ELSE '' END "
        "FROM pair JOIN prompt ON prompt.id = pair.prompt_id WHERE pair.id = catalog.pair_id)"
    )
    op.execute(
        f"INSERT INTO catalog_words (rowid, texts, reason) SELECT catalog.id, {words}, label.rationale "
        f"FROM catalog JOIN label ON label.uuid = catalog.label_uuid WHERE NOT ({NO_WORDS}) ORDER BY catalog.id"
    )
    row = ROW.format(new="NEW", flags="json_array_length(NEW.flags)", first=FIRST.format(new="NEW"))
    op.execute(
        "CREATE TRIGGER label_catalog AFTER INSERT ON label WHEN NOT NEW.retracted BEGIN "
        f"INSERT INTO catalog ({COLUMNS}) {row} WHERE pair.id = NEW.pair_id; "
        f"INSERT INTO catalog_words (rowid, texts, reason) SELECT catalog.id, {words}, NEW.rationale FROM catalog "
        f"WHERE catalog.id = (SELECT max(id) FROM catalog) AND NOT ({NO_WORDS.replace('rationale', 'NEW.rationale')}); "
        "END"
    )


def _postgresql() -> None:
    op.execute("CREATE TABLE catalog_words (id integer PRIMARY KEY, texts tsvector NOT NULL, words tsvector NOT NULL)")
    op.execute("CREATE INDEX catalog_words_words ON catalog_words USING gin (words)")
    row = ROW.format(new="label", flags="json_array_length(label.flags)", first="row_number() OVER pairs = 1")
    op.execute(
        f"INSERT INTO catalog ({COLUMNS}) {row} JOIN label ON label.pair_id = pair.id WHERE NOT label.retracted "
        "WINDOW pairs AS (PARTITION BY label.pair_id ORDER BY label.created_at, label.uuid) "
        "ORDER BY label.created_at, label.uuid"
    )
    # texts: what the pair's own texts say; words: those and the rationale, which is what is looked up.
    words = (
        "INSERT INTO catalog_words (id, texts, words) SELECT catalog.id, shown.texts, "
        "shown.texts || to_tsvector('simple', left({new}.rationale, 200000)) FROM catalog "
        "CROSS JOIN LATERAL (SELECT to_tsvector('simple', left(COALESCE((SELECT prompt.text || E'\\n' || "
        "(SELECT string_agg(response.text, E'\\n') FROM pair_response JOIN response "
        "ON response.id = pair_response.response_id WHERE pair_response.pair_id = pair.id) "
        "FROM pair JOIN prompt ON prompt.id = pair.prompt_id WHERE pair.id = catalog.pair_id AND catalog.first), ''), "
        "200000)) AS texts) AS shown "
    )
    op.execute(
        words.format(new="label")
        + f"JOIN label ON label.uuid = catalog.label_uuid WHERE NOT ({NO_WORDS.replace('first', 'catalog.first')})"
    )
    row = ROW.format(new="NEW", flags="json_array_length(NEW.flags)", first=FIRST.format(new="NEW"))
    op.execute(
        "CREATE FUNCTION catalog_label() RETURNS trigger LANGUAGE plpgsql AS $$ DECLARE made integer; BEGIN "
        f"INSERT INTO catalog ({COLUMNS}) {row} WHERE pair.id = NEW.pair_id RETURNING id INTO made; "
        f"{words.format(new='NEW')} WHERE catalog.id = made AND (catalog.first OR NEW.rationale <> ''); "
        "RETURN NULL; END $$"
    )
    op.execute(
        "CREATE TRIGGER label_catalog AFTER INSERT ON label FOR EACH ROW WHEN (NOT NEW.retracted) "
        "EXECUTE FUNCTION catalog_label()"
    )
