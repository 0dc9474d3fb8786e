"""The queue's SQL: plain statements where a claim passes a million times.

States are literals, as the partial indexes need them. What the statements are for is said in slots.py and gold.py.
"""

from functools import cache

from sqlalchemy import JSON, String, TextClause, bindparam, text

from annotate.campaign import NEWEST

PERSON = text(
    "SELECT annotator.active, annotator.kind, profile.opted_out, queue_cursor.priority, "
    "queue_cursor.batches AS seen, queue_state.batches, "
    f"{NEWEST}, "
    "EXISTS (SELECT 1 FROM slot WHERE annotator_id = :who AND state = 'leased') AS holds, "
    "EXISTS (SELECT 1 FROM slot WHERE state = 'leased' AND lease_until < :now) AS expired "
    "FROM annotator LEFT JOIN queue_cursor ON queue_cursor.annotator_id = annotator.id "
    "LEFT JOIN profile ON profile.annotator_id = annotator.id "
    "LEFT JOIN queue_state ON queue_state.id = 1 WHERE annotator.id = :who"
).columns(opted_out=JSON)
LOCK_PERSON = text("SELECT 1 FROM annotator WHERE id = :who FOR NO KEY UPDATE")

HELD = text(
    "SELECT id FROM slot WHERE annotator_id = :who AND state = 'leased' ORDER BY claimed_at, priority, id LIMIT :most"
)

UNSEEN = (
    "NOT EXISTS (SELECT 1 FROM slot AS mine WHERE mine.pair_id = slot.pair_id AND mine.annotator_id = :who) "
    "AND NOT EXISTS (SELECT 1 FROM label WHERE label.pair_id = slot.pair_id AND label.annotator_id = :who)"
)
WANTED = (
    "AND NOT EXISTS (SELECT 1 FROM pair JOIN prompt ON prompt.id = pair.prompt_id "
    "WHERE pair.id = slot.pair_id AND prompt.family IN :topics) "
)
FIND_EXPIRED = (
    "SELECT slot.id, slot.pair_id FROM slot WHERE slot.state = 'leased' AND slot.lease_until < :now "
    f"AND {UNSEEN} {{wanted}}ORDER BY slot.lease_until, slot.id LIMIT :most"
)
FIND_OPEN = (
    "SELECT slot.id, slot.pair_id, slot.priority FROM slot WHERE slot.state = 'open' AND slot.priority >= :start "
    f"AND {UNSEEN} {{wanted}}ORDER BY slot.priority, slot.id LIMIT :most"
)


@cache
def searching(query: str, *, topics: bool, lock: bool) -> TextClause:
    """FIND_EXPIRED or FIND_OPEN: without the slots of some topics, and with those found locked."""
    found = query.format(wanted=WANTED if topics else "") + (" FOR UPDATE OF slot SKIP LOCKED" if lock else "")
    return text(found).bindparams(bindparam("topics", expanding=True, type_=String)) if topics else text(found)


PAST_OPEN = text("SELECT priority + 1 FROM slot WHERE state = 'open' ORDER BY priority DESC LIMIT 1")
MOVE_CURSOR = text(
    "INSERT INTO queue_cursor (annotator_id, priority, batches) VALUES (:who, :start, :batches) "
    "ON CONFLICT (annotator_id) DO UPDATE SET priority = excluded.priority, batches = excluded.batches"
)

CONTENT = (
    text(
        "SELECT slot.id AS slot, slot.replica, slot.annotator_id, slot.order_shown, pair.id AS pair, pair.round, "
        "pair.seed, pair.objective, prompt.messages, prompt.family, response.id AS response, response.text FROM slot "
        "JOIN pair ON pair.id = slot.pair_id JOIN prompt ON prompt.id = pair.prompt_id "
        "JOIN pair_response ON pair_response.pair_id = pair.id "
        "JOIN response ON response.id = pair_response.response_id WHERE slot.id IN :slots"
    )
    .bindparams(bindparam("slots", expanding=True))
    .columns(order_shown=JSON, messages=JSON)
)
LEASE = text(
    "UPDATE slot SET state = 'leased', claimed_at = CASE WHEN annotator_id = :who THEN claimed_at ELSE :now END, "
    "annotator_id = :who, lease_until = CASE WHEN replica < 0 THEN NULL ELSE :until END, "
    "order_shown = :order WHERE id = :slot"
).bindparams(bindparam("order", type_=JSON))
RENEW = text(
    "UPDATE slot SET lease_until = CASE WHEN replica < 0 THEN NULL ELSE :until END "
    "WHERE state = 'leased' AND annotator_id = :who AND id IN :slots"
).bindparams(bindparam("slots", expanding=True))

FIND_PLACE = (
    "SELECT slot.pair_id, slot.state, slot.annotator_id, slot.order_shown, slot.replica, slot.claimed_at, "
    "pair.seed, pair.prompt_id, pair_response.response_id FROM slot JOIN pair ON pair.id = slot.pair_id "
    "JOIN pair_response ON pair_response.pair_id = pair.id WHERE slot.id = :slot ORDER BY pair_response.position"
)
PLACE = text(FIND_PLACE).columns(order_shown=JSON)
PLACE_LOCKED = text(f"{FIND_PLACE} FOR UPDATE OF slot").columns(order_shown=JSON)
CLOSE = text(
    "UPDATE slot SET state = 'done', annotator_id = :who, order_shown = :order, lease_until = NULL WHERE id = :slot"
).bindparams(bindparam("order", type_=JSON))
REOPEN = text(
    "UPDATE slot SET state = 'leased', annotator_id = :who, order_shown = :order, claimed_at = :now WHERE id = :slot"
).bindparams(bindparam("order", type_=JSON))
GIVE_BACK = text(
    "UPDATE slot SET state = 'open', annotator_id = NULL, order_shown = NULL, claimed_at = NULL, lease_until = NULL, "
    "priority = :priority WHERE id = :slot"
)

RELEASED = text(
    "SELECT slot.id FROM slot JOIN pair ON pair.id = slot.pair_id JOIN prompt ON prompt.id = pair.prompt_id "
    "WHERE slot.annotator_id = :who AND slot.state = 'leased' AND prompt.family IN :topics"
).bindparams(bindparam("topics", expanding=True, type_=String))
FORGET_CURSOR = text("DELETE FROM queue_cursor WHERE annotator_id = :who")

# Gold: the newest row of a pair counts.
IN_USE = (
    "gold.use = :use AND NOT EXISTS (SELECT 1 FROM gold AS later WHERE later.pair_id = gold.pair_id "
    "AND later.id > gold.id)"
)
FIND_GOLD = (
    "SELECT gold.pair_id FROM gold JOIN pair ON pair.id = gold.pair_id JOIN prompt ON prompt.id = pair.prompt_id "
    f"WHERE {IN_USE} AND NOT EXISTS (SELECT 1 FROM slot WHERE slot.pair_id = gold.pair_id AND annotator_id = :who) "
    "AND prompt.family NOT IN :topics ORDER BY CASE WHEN gold.pair_id < :start THEN 1 ELSE 0 END, {order} LIMIT 1"
)
NEXT_PRACTICE, NEXT_CONTROL = (
    text(FIND_GOLD.format(order=order)).bindparams(bindparam("topics", expanding=True, type_=String))
    for order in ("gold.id", "gold.pair_id")
)
COUNT_GOLD = text(f"SELECT count(*) FROM gold WHERE {IN_USE}")
GOLD_OF = text("SELECT ranking, explanation, use FROM gold WHERE pair_id = :pair ORDER BY id DESC LIMIT 1").columns(
    ranking=JSON
)
PRACTISED = text(
    "SELECT gold.ranking AS known, label.ranking, label.skip_reason FROM gold "
    "JOIN label ON label.pair_id = gold.pair_id AND label.annotator_id = :who "
    f"WHERE {IN_USE} AND NOT label.retracted "
    "AND NOT EXISTS (SELECT 1 FROM label AS newer WHERE newer.supersedes = label.uuid) "
    "ORDER BY label.created_at, label.uuid"
).columns(known=JSON, ranking=JSON)
LOCK_PAIR = text("SELECT 1 FROM pair WHERE id = :pair FOR NO KEY UPDATE")
GIVE_GOLD = text(
    "INSERT INTO slot (pair_id, replica, priority, state) "
    "SELECT CAST(:pair AS VARCHAR), COALESCE(MIN(replica), 0) - 1, 0, 'leased' FROM slot "
    "WHERE pair_id = :pair AND replica < 0 RETURNING id"
)
NEWEST_ROUND = text("SELECT max(round) FROM round_size WHERE slots > 0")
LABELS_SINCE = text(
    "SELECT COALESCE(SUM(CASE WHEN skip_reason IS NOT NULL THEN 0 WHEN retracted THEN -1 "
    "WHEN supersedes IS NOT NULL THEN 0 ELSE 1 END), 0) FROM label WHERE annotator_id = :who AND created_at >= :since"
)
GIVEN = text("SELECT COALESCE(SUM(labels + skips), 0) FROM tally WHERE annotator_id = :who")
GIVEN_IN_ROUND = text("SELECT labels FROM tally WHERE annotator_id = :who AND round = :round")

UNHELD = text(
    "SELECT slot.id, slot.pair_id, slot.state FROM slot JOIN pair ON pair.id = slot.pair_id "
    "WHERE pair.round = :round AND pair.artifact_id IS NOT NULL AND slot.state IN ('open', 'aside')"
)
SET_STATE = text("UPDATE slot SET state = :state WHERE id = :slot AND state IN ('open', 'aside')")
RESIZE_ROUND = text(
    "UPDATE round_size SET slots = slots + :slots, pairs = (SELECT count(DISTINCT slot.pair_id) FROM slot "
    "JOIN pair ON pair.id = slot.pair_id WHERE pair.round = :round AND slot.state <> 'aside') WHERE round = :round"
)
NEW_BATCH = text(
    "INSERT INTO queue_state (id, batches, returned) VALUES (1, 1, 0) "
    "ON CONFLICT (id) DO UPDATE SET batches = queue_state.batches + 1"
)
RETURN = text(
    "INSERT INTO queue_state (id, batches, returned) VALUES (1, 0, 1) "
    "ON CONFLICT (id) DO UPDATE SET returned = queue_state.returned + 1 RETURNING returned"
)
GROW_ROUND = text(
    "INSERT INTO round_size (round, pairs, slots) VALUES (:round, :pairs, :slots) ON CONFLICT (round) "
    "DO UPDATE SET pairs = round_size.pairs + excluded.pairs, slots = round_size.slots + excluded.slots"
)
