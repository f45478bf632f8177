#!/usr/bin/env python3
"""Writes the example: sentences in the manner of old novels, and who, where and when as a small JSON record.

    python crates/session/assets/example/make_example.py

Needs nothing but Python; the seed is fixed, so it writes the same bytes each time. The text is the project's own.

  train.jsonl     480 rows {"prompt", "completion"} of 24 sentence patterns, 20 rows each
  held_out.jsonl  120 rows with `unseen_pattern` besides: 96 rows of those patterns, and 24 of four others

The record does not repeat the sentence's words, it says what they come to: whether it is a man, a woman or a child, at
home, in town, at sea or in the country, in the morning, in the evening or at night. There are 36 records. Every phrase
occurs often in train.jsonl, and no three phrases occur together twice in the two files. So the held-out rows ask whether
the model reads a sentence rather than remembers it, and those with an unseen pattern whether it also reads sentences of
another build.
"""

import json
import random
from collections import Counter
from itertools import product
from pathlib import Path

HERE = Path(__file__).resolve().parent

WHO = {
    "man": ["the captain", "my uncle", "the old gentleman", "Mr. Grey", "his brother", "the farmer"],
    "woman": ["the widow", "my aunt", "the young lady", "Mrs. Grey", "her sister", "the housemaid"],
    "child": ["the little boy", "the little girl", "the baby", "the schoolboy", "the youngest child", "the orphan"],
}
WHERE = {
    "home": ["in the parlour", "by the fire", "in the kitchen", "on the stairs", "in the bedroom"],
    "town": ["in the street", "at the market", "at the station", "in the shop", "in the church"],
    "sea": ["on the beach", "on board the ship", "in the harbour", "on the cliff", "in the boat"],
    "country": ["in the wood", "in the meadow", "on the hill", "by the river", "in the orchard"],
}
WHEN = {
    "morning": ["at dawn", "after breakfast", "at sunrise", "early in the morning", "before breakfast"],
    "evening": ["at sunset", "after supper", "at dusk", "in the evening", "after tea"],
    "night": ["at midnight", "by moonlight", "late at night", "under the stars", "in the dead of night"],
}
THINGS = ["a letter", "a lantern", "a basket of apples", "a silver watch", "an old book", "a loaf of bread",
          "a black umbrella", "a bunch of keys", "a broken violin", "a purse of gold"]

PATTERNS = [
    "{Who} was seen {where} {when}, with {thing}.",
    "{Who} stood {where} {when}, pale and silent.",
    "{Who} waited {where} {when}, but nobody came.",
    "{Who} wept {where} {when} over {thing}.",
    "\"I saw {who} {where} {when},\" said the doctor, and shook his head.",
    "To our surprise, {who} was found {where} {when}.",
    "We met {who} {where} {when}, looking for {thing}.",
    "They say that {who} lost {thing} {where} {when}.",
    "{Who} was sitting {when} {where}, lost in thought.",
    "{Who} was heard {when} singing {where}.",
    "We came upon {who} {when} {where}, fast asleep.",
    "It was {when} that {who} was first seen {where}.",
    "So it happened that {when} {who} dropped {thing} {where}.",
    "Once, {when}, {who} told me a strange tale {where}.",
    "Very quietly, {when}, {who} hid {thing} {where}.",
    "It was cold {when}, and {who} shivered {where}.",
    "It was {where} that {who} lost {thing} {when}.",
    "Somebody left {thing} {where} {when}, and {who} was blamed for it.",
    "There was dancing {where} {when}, and {who} was the last to leave.",
    "A quarrel began {where} {when}, and {who} was the cause of it.",
    "A strange noise {when} {where} had frightened {who}.",
    "The bell rang {when}, and {who} let fall {thing} {where}.",
    "There was music {when} {where}, but {who} would not sing.",
    "Nobody {where} {when} was so merry as {who}.",
]
UNSEEN_PATTERNS = [
    "Do you remember how {who} laughed {where} {when}?",
    "{Who}, who was never idle, mended {thing} {when} {where}.",
    "What {when} had become of {who} was discovered {where}.",
    "He swore that {where}, {when}, he had spoken to {who}.",
]


def main():
    rng = random.Random(1871)
    triples = list(product(*(phrases(of) for of in (WHO, WHERE, WHEN))))
    rng.shuffle(triples)
    train = take_evenly(triples, 480)
    held_out = take_evenly(triples, 120)
    write("train.jsonl", [row(rng, p, t) for p, t in zip(dealt(rng, PATTERNS, 480), train)])
    patterns = dealt(rng, PATTERNS, 96) + dealt(rng, UNSEEN_PATTERNS, 24)
    rows = [{**row(rng, p, t), "unseen_pattern": p in UNSEEN_PATTERNS} for p, t in zip(patterns, held_out)]
    rng.shuffle(rows)
    write("held_out.jsonl", rows)


def phrases(of):
    """All phrases of a fact, each with what it comes to."""
    return [(phrase, meaning) for meaning, known in of.items() for phrase in known]


def take_evenly(triples, count):
    """Takes `count` triples out of the list, no phrase much more often than the others of its fact."""
    limits = [count // len(phrases(of)) + 1 for of in (WHO, WHERE, WHEN)]
    used = [Counter(), Counter(), Counter()]
    taken = []
    for triple in triples:
        if len(taken) < count and all(u[fact] < limit for u, fact, limit in zip(used, triple, limits)):
            taken.append(triple)
            for u, fact in zip(used, triple):
                u[fact] += 1
    assert len(taken) == count
    gone = set(taken)
    triples[:] = [t for t in triples if t not in gone]
    return taken


def dealt(rng, patterns, count):
    """`count` patterns in random order, each as often as the others, give or take one."""
    deck = [patterns[i % len(patterns)] for i in range(count)]
    rng.shuffle(deck)
    return deck


def row(rng, pattern, triple):
    who, where, when = (phrase for phrase, _ in triple)
    prompt = pattern.format(who=who, Who=who[0].upper() + who[1:], where=where, when=when, thing=rng.choice(THINGS))
    assert len(prompt.split()) <= 24, prompt
    record = dict(zip(("who", "where", "when"), (meaning for _, meaning in triple)))
    return {"prompt": prompt, "completion": json.dumps(record)}


def write(name, rows):
    (HERE / name).write_text("".join(json.dumps(r) + "\n" for r in rows), encoding="utf-8")


if __name__ == "__main__":
    main()
