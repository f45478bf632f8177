#!/usr/bin/env python3
"""Writes the rows of the studies that train models which generate, as conversations.

    python tests/studies/rows.py --data FOLDER --out ROWS

FOLDER has LLM-Adapters' sets in commonsense/NAME/{train,test}.json and CLINC150 in classify/clinc150/data_full.json.
Writes, each row drawn with a fixed seed:
    commonsense.jsonl            300 rows of each of five training sets: BoolQ, SIQA, OpenBookQA, ARC-Easy, ARC-Challenge
    commonsense-held-out.jsonl   25 rows of each of eight test sets
    intents.jsonl                20 rows of each of CLINC150's first 75 intents, by name
    intents-held-out.jsonl       2 rows of each, from its test split
"""

import argparse
import json
import pathlib
import random

parser = argparse.ArgumentParser()
parser.add_argument("--data", type=pathlib.Path, required=True)
parser.add_argument("--out", type=pathlib.Path, required=True)
given = parser.parse_args()

TRAINED = ["boolq", "social_i_qa", "openbookqa", "ARC-Easy", "ARC-Challenge"]
JUDGED = ["boolq", "piqa", "social_i_qa", "hellaswag_subset", "winogrande", "ARC-Easy", "ARC-Challenge", "openbookqa"]
INTENTS = 75


def write(name, rows):
    random.Random(0).shuffle(rows)
    lines = [json.dumps({"messages": [{"role": r, "content": c} for r, c in row]}) + "\n" for row in rows]
    given.out.mkdir(parents=True, exist_ok=True)
    (given.out / name).write_text("".join(lines))
    print(f"{given.out / name}: {len(lines)} rows")


def commonsense(sets, split, count):
    for name in sets:
        rows = json.loads((given.data / "commonsense" / name / f"{split}.json").read_text())
        for row in random.Random(0).sample(rows, count):
            yield [("user", row["instruction"]), ("assistant", row["output"])]


def intents(split, count):
    rows = json.loads((given.data / "classify/clinc150/data_full.json").read_text())[split]
    for intent in sorted({intent for _, intent in rows})[:INTENTS]:
        texts = [text for text, of in rows if of == intent]
        for text in random.Random(0).sample(texts, count):
            yield [("system", "Name the intent."), ("user", text), ("assistant", intent.replace("_", " "))]


write("commonsense.jsonl", list(commonsense(TRAINED, "train", 300)))
write("commonsense-held-out.jsonl", list(commonsense(JUDGED, "test", 25)))
write("intents.jsonl", list(intents("train", 20)))
write("intents-held-out.jsonl", list(intents("test", 2)))
