"""What each stage of a round does; the order, and when a stage runs, is align/rounds.py's business.

Training stages are handed frozen directories and write one. Only the stages that gather from the database or bring
rows into it touch the ledger, and those rows are inserted in the transaction that records the artifact.
"""

import json
import time
from pathlib import Path
from typing import Any

import numpy as np

from align.algorithms.rloo import RlooSection
from align.job import Job, Metrics, derived_seed
from annotate.errors import BadInput, NotFound, Waiting
from annotate.messages import as_messages, digest, normalised, to_dicts
from annotate.preference import Split
from annotate.tables import Promotion, Response, SnapshotLabel
from reward.config import FinetuneSection, HeadSection

MOST_TURNS = 4
"""How many times the recipe's number of prompts a round may ask at most."""
ENOUGH_DIFFER = 2 / 3
"""Share of the recipe's number of prompts that must be answered in two ways at least; until then more are asked."""

# ---------------------------------------------------------------------------------- before the labels


def demonstrations(job: Job) -> Metrics:
    """Write demonstrations.jsonl from the world or from the recipe's file, without those of test prompts."""
    from annotate.prompts import splits_of

    section = job.recipe.demonstrations
    rows: list[dict[str, Any]] = []
    if section.path is not None:
        from annotate.readers import read_rows

        for row in read_rows(Path(section.path)):
            response = row.fields.get("response")
            try:
                if row.broken or not isinstance(response, str):
                    raise BadInput(row.broken or "the response is not text")
                prompt = as_messages(row.fields.get("prompt"))
            except BadInput as error:
                raise BadInput(
                    error.what,
                    where=f"{section.path}, line {row.line}",
                    next="A demonstration is {prompt: text or messages, response: text}",
                ) from error
            rows.append({"prompt": to_dicts(prompt), "response": response})
            if len(rows) == section.count:
                break
    elif job.recipe.world is not None:
        from annotate.worlds import load_world

        seed = derived_seed(job.recipe.seed, "demonstrations")
        for asked, answer in load_world(job.recipe.world).demonstrations(section.count, seed):
            rows.append({"prompt": to_dicts(as_messages(asked)), "response": answer})
    else:
        raise BadInput(
            "there is nothing to fine-tune the first policy on",
            where="recipe, demonstrations.path",
            next="Name a JSONL file of {prompt, response} rows there, or take a model as it is with sft.kind: none",
        )
    with job.ledger.read() as session:
        splits = splits_of(session, [as_messages(row["prompt"]) for row in rows], job.recipe.prompts)
    kept = [row for row, split in zip(rows, splits, strict=True) if split != "test"]
    if not kept:
        raise BadInput(
            f"all {len(rows)} demonstrations answer prompts of the test split, which nothing is trained on",
            where=section.path or f"world {job.recipe.world}",
            next="Add demonstrations of other prompts, or lower the last share of prompts.split in the recipe",
        )
    _write_rows(job.out / "demonstrations.jsonl", kept)
    return {"demonstrations": len(kept), "left_out_test": len(rows) - len(kept)}


def sft(job: Job) -> Metrics:
    """Fine-tune the first policy, or take the recipe's model as it is."""
    from align.algorithms import sft as algorithm

    return algorithm.run(job.inputs, job.recipe.sft, job.out, seed=job.seed, progress=job.progress)


def prompts(job: Job) -> Metrics:
    """Freeze the prompts of this round as prompts.jsonl; a world's are imported first."""
    from annotate.prompts import add_prompts, all_prompts

    section = job.recipe.prompts
    if job.recipe.world is not None:
        from annotate.worlds import family_of, load_world

        world = load_world(job.recipe.world)
        texts = world.prompts(section.count, derived_seed(job.recipe.seed, "prompts"))
        items = [(as_messages(text), family_of(world, text)) for text in texts]
        add_prompts(job.ledger, items, section, source=f"world:{world.name}", progress=job.progress)
    with job.ledger.read() as session:
        rows = [
            {"id": row.id, "messages": row.messages, "split": row.split, "group": row.group, "family": row.family}
            for row in all_prompts(session)
        ]
    if not rows:
        raise NotFound("there are no prompts yet", next="Run: trueloop prompts FILE")
    counts: Metrics = {"prompts": len(rows)}
    for split in ("train", "validation", "test"):
        counts[split] = sum(row["split"] == split for row in rows)
    _write_rows(job.out / "prompts.jsonl", rows)
    return counts


def responses(job: Job) -> Metrics:
    """Have the champion answer a seeded sample of train and validation prompts; test prompts are never asked.

    Where it answers too many of them in one way only, as a policy does that has learned to be brief, it is asked more.
    """
    from align.generate import Completion, generate_from

    section = job.recipe.generate
    rng = np.random.default_rng(job.seed)
    pool = read_rows_of(job.inputs["prompts"] / "prompts.jsonl")
    wanted = {"validation": round(section.prompts * section.validation_share)}
    wanted["train"] = section.prompts - wanted["validation"]
    turns: list[list[dict[str, Any]]] = [[] for _ in range(MOST_TURNS)]
    for split, count in wanted.items():
        rows = [row for row in pool if row["split"] == split]
        order = rng.permutation(len(rows))
        for number, turn in enumerate(turns):
            turn += [rows[index] for index in sorted(order[number * count : (number + 1) * count])]
    if not turns[0]:
        raise NotFound(
            "no prompt is in the train or validation split", next="Run: trueloop prompts FILE with more prompts"
        )
    sampling = {
        "temperature": section.temperature,
        "top_p": section.top_p,
        "max_new_tokens": section.max_new_tokens,
        "seed": job.seed,
    }
    started = time.monotonic()
    asked: list[dict[str, Any]] = []
    answers: list[list[Completion]] = []
    for turn in filter(None, turns):
        asked += turn
        answers += generate_from(
            section.endpoint or job.inputs["champion"],
            [as_messages(row["messages"]) for row in turn],
            n=section.responses,
            batch_size=section.batch_size,
            progress=job.progress,
            max_new_tokens=section.max_new_tokens,
            temperature=section.temperature,
            top_p=section.top_p,
            seed=job.seed,
        )
        differ = sum(len({normalised(one.text) for one in row}) > 1 for row in answers)
        if section.responses == 1 or differ >= ENOUGH_DIFFER * section.prompts:
            break
    rows, seen = [], set()
    for row, completions in zip(asked, answers, strict=True):
        for completion in completions:
            model = job.parents["champion"]
            identity = digest([row["id"], completion.text, model])
            if identity in seen:
                continue
            seen.add(identity)
            rows.append(
                {
                    "id": identity,
                    "prompt_id": row["id"],
                    "split": row["split"],
                    "text": completion.text,
                    "model": model,
                    "sampling": sampling,
                    "logprob": completion.logprob,
                    "tokens": len(completion.token_ids),
                    "finished": completion.finished,
                }
            )
    _write_rows(job.out / "responses.jsonl", rows)
    tokens = sum(row["tokens"] for row in rows)
    job.progress(
        f"sampled {tokens / max(time.monotonic() - started, 1e-9):,.0f} tokens a second", len(asked), len(asked)
    )
    return {
        "prompts": len(asked),
        "responses": len(rows),
        "tokens": tokens,
        "finished": float(np.mean([bool(row["finished"]) for row in rows])),
    }


def add_responses(session: Any, job: Job) -> None:
    """Bring the artifact's responses into the database; one that stands there already is left as it is."""
    known = {row.id for row in job.ledger.responses_by_id(session, [row["id"] for row in _responses_of(job.made)])}
    session.add_all(
        Response(
            id=row["id"],
            prompt_id=row["prompt_id"],
            text=row["text"],
            model=row["model"],
            artifact_id=job.id,
            sampling=row["sampling"],
            logprob=row["logprob"],
            tokens=row["tokens"],
            finished=row["finished"],
            source="generate",
            created_at=time.time(),
        )
        for row in _responses_of(job.made)
        if row["id"] not in known
    )


def pairs(job: Job) -> Metrics:
    """Choose which responses are compared, with the probability of each choice."""
    from annotate.pairs import choose_pairs

    rows = _responses_of(job.inputs["responses"])
    objective = job.recipe.campaign.objective
    chosen = choose_pairs(rows, job.recipe.pairs, round=job.round, seed=job.seed, objective=objective)
    if not chosen:
        raise BadInput(
            "no two responses to any prompt differ enough to be compared",
            where=f"round {job.round}",
            next="Raise generate.temperature or generate.responses in the recipe, then run: trueloop advance",
        )
    _write_rows(job.out / "pairs.jsonl", [pair.row() for pair in chosen])
    return {"pairs": len(chosen), "labels": len(chosen) * job.recipe.pairs.overlap}


def add_pairs(session: Any, job: Job) -> None:
    """Bring the pairs and their open slots into the queue."""
    from annotate.pairs import CandidatePair
    from annotate.queue import add_pairs as enqueue

    chosen = [CandidatePair.from_row(row) for row in read_rows_of(job.made / "pairs.jsonl")]
    enqueue(session, chosen, artifact_id=job.id, seed=job.seed)


def labels(job: Job) -> None:
    """Raise Waiting until the round has its labels; pairs that these replaced are not asked about any more."""
    from annotate.pairs import CandidatePair
    from annotate.queue import ask_only, count_labels

    standing = [CandidatePair.from_row(row).id for row in read_rows_of(job.inputs["pairs"] / "pairs.jsonl")]
    job.ledger.write(lambda session: ask_only(session, job.round, standing))
    with job.ledger.read() as session:
        have, slots = count_labels(session, job.round)
    need = min(job.recipe.labels.per_round, slots)
    if have < need:
        raise Waiting(have, need, where=f"round {job.round}")


# ----------------------------------------------------------------------------------- after the labels


def snapshot(job: Job) -> Metrics:
    """Freeze all effective labels of this round and the ones before it."""
    from annotate.snapshot import freeze

    return freeze(job.ledger, job.out, job.recipe.snapshot, round=job.round)


def add_snapshot_labels(session: Any, job: Job) -> None:
    """Record which labels the snapshot froze."""
    from annotate.snapshot import labels_in

    session.add_all(SnapshotLabel(artifact_id=job.id, label_uuid=uuid) for uuid in labels_in(job.made))


def reward(job: Job) -> Metrics:
    """Train the reward model that the policy is optimised against, on the train split's labels."""
    return _train_reward(job, job.recipe.reward, "train")


def referee(job: Job) -> Metrics:
    """Train the judge of the gate, on the validation split's labels: prompts the reward model never saw."""
    return _train_reward(job, job.recipe.referee, "validation")


def _train_reward(job: Job, section: HeadSection | FinetuneSection, split: Split) -> Metrics:
    if isinstance(section, HeadSection):
        from reward import head

        return head.run(job.inputs, section, job.out, seed=job.seed, progress=job.progress, split=split)
    from reward import finetune

    return finetune.run(job.inputs, section, job.out, seed=job.seed, progress=job.progress, split=split)


def policy(job: Job) -> Metrics:
    """Align the policy by the recipe's algorithm, starting from the SFT model."""
    section = job.recipe.policy
    if isinstance(section, RlooSection):
        from align.algorithms import rloo

        return rloo.run(job.inputs, section, job.out, seed=job.seed, progress=job.progress)
    from align.algorithms import dpo

    return dpo.run(job.inputs, section, job.out, seed=job.seed, progress=job.progress)


def evaluation(job: Job) -> Metrics:
    """Compare candidate, SFT and champion on the test prompts."""
    from align.evaluate import run

    return run(job.inputs, job.recipe.evaluate, job.out, seed=job.seed, progress=job.progress, world=job.recipe.world)


def promotion(job: Job) -> Metrics:
    """Decide by the gate; the ledger's row follows with the artifact."""
    from align.promote import decide

    metrics = json.loads((job.inputs["evaluation"] / "artifact.json").read_text(encoding="utf-8"))["metrics"]
    verdict = decide(metrics, job.recipe.gate)
    evidence = {"promoted": verdict.promoted, "reasons": list(verdict.reasons), "figures": verdict.evidence}
    (job.out / "verdict.json").write_text(json.dumps(evidence, indent=1, ensure_ascii=False), encoding="utf-8")
    return {"verdict": "promoted" if verdict.promoted else "rejected", "reasons": "; ".join(verdict.reasons)}


def add_promotion(session: Any, job: Job) -> None:
    """Record the verdict and the champion from now on."""
    evidence = json.loads((job.made / "verdict.json").read_text(encoding="utf-8"))
    promoted = evidence["promoted"]
    session.add(
        Promotion(
            artifact_id=job.id,
            policy_id=job.parents["policy"],
            champion_id=job.parents["policy" if promoted else "champion"],
            round=job.round,
            verdict="promoted" if promoted else "rejected",
            evidence=evidence,
            created_at=time.time(),
        )
    )
    job.ledger.audit(session, "trueloop", "promoted" if promoted else "rejected", job.parents["policy"], evidence)


def read_rows_of(path: Path) -> list[dict[str, Any]]:
    """The rows of a JSONL file that a stage wrote."""
    with path.open(encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def _responses_of(folder: Path) -> list[dict[str, Any]]:
    return read_rows_of(folder / "responses.jsonl")


def _write_rows(path: Path, rows: list[dict[str, Any]]) -> None:
    with path.open("w", encoding="utf-8", newline="\n") as file:
        for row in rows:
            file.write(json.dumps(row, ensure_ascii=False, sort_keys=True) + "\n")
