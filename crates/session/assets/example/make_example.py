#!/usr/bin/env python3
"""Writes the example: sentences in the manner of old novels, and who, where and when as a small JSON record.

    python crates/session/assets/example/make_example.py

Needs nothing but Python; the seed is fixed, so it writes the same bytes each time. The text is the project's own.

  train.jsonl     480 rows {"prompt", "completion"} of 30 sentence patterns, 16 rows each
  held_out.jsonl  120 rows with `unseen_pattern` besides: 88 rows of those patterns, and 32 of four others

The completion names who, where, when in that order, each in the very words of the sentence, whatever their order there.
Names, places and times come from closed sets, and each occurs often in train.jsonl; no who-where-when triple occurs
twice in the two files together. So the held-out rows ask whether the model reads a sentence rather than remembers it,
and those with an unseen pattern whether it also reads sentences of another build.
"""

import json
import random
from collections import Counter
from itertools import product
from pathlib import Path

HERE = Path(__file__).resolve().parent

WOMEN = ["Alice", "Anna", "Clara", "Ellen", "Emma", "Fanny", "Jane", "Kate", "Lucy", "Margaret", "Mary", "Sarah"]
MEN = ["Arthur", "Charles", "Edward", "Frank", "George", "Henry", "James", "John", "Philip", "Robert", "Tom", "William"]
PLACES = ["the mill", "the church", "the inn", "the stone bridge", "the station", "the harbour", "the school",
          "the market", "the farm", "the castle", "the forge", "the old well", "the garden gate", "the library",
          "the chapel", "the theatre", "the ferry", "the cottage", "the post office", "the lighthouse"]
TIMES = ["at dawn", "at noon", "at dusk", "at midnight", "before breakfast", "after supper", "on Monday",
         "on Sunday morning", "last night", "at six o'clock", "in the evening", "after the storm", "on Christmas Eve",
         "in early spring"]
THINGS = ["a letter", "a lantern", "a basket of apples", "a silver watch", "an old book", "a loaf of bread",
          "a black umbrella", "a bunch of keys", "a broken violin", "a purse of gold"]

# Five for each order of the three facts. A place or time never opens a sentence, where its first letter would change.
PATTERNS = [
    "{who} walked to {where} {when}, carrying {thing}.",
    "{who} was seen near {where} {when}, though {he} denied it afterwards.",
    "{who} had promised to be at {where} {when}, and {he} kept {his} word.",
    "To our surprise, {who} came back from {where} {when}, pale and silent.",
    "\"I saw {who} at {where} {when},\" said the doctor, and shook his head.",

    "{who} set out {when} for {where}, with {thing} in {his} hand.",
    "{who} dressed in haste {when} and went alone to {where}.",
    "{who} waited {when} by {where} until {his} patience was gone.",
    "Poor {who} was sent {when} to fetch {thing} from {where}.",
    "We heard that {who} had arrived {when} at {where}, weary but cheerful.",

    "On the road to {where} we met {who} {when}, looking for {thing}.",
    "In the shadow of {where} stood {who} {when}, as still as a stone.",
    "It was at {where} that {who} lost {thing} {when}.",
    "Outside {where} a stranger spoke to {who} {when} about {thing}.",
    "Not far from {where}, {who} fell asleep {when} under a tree.",

    "Near {where}, {when}, the children found {who} weeping over {thing}.",
    "There was dancing at {where} {when}, and {who} was the last to leave.",
    "A fire broke out at {where} {when}, but {who} was unhurt.",
    "The crowd at {where} {when} was great, and everyone stared at {who}.",
    "Someone left {thing} at {where} {when}, and {who} was blamed for it.",

    "It was {when} that {who} first came to {where}.",
    "So it happened that {when} {who} returned to {where} with {thing}.",
    "Once, {when}, {who} rode past {where} without turning {his} head.",
    "Very quietly, {when}, {who} slipped away from {where} and was not missed.",
    "The letter said that {when} {who} had been found at {where}.",

    "It was cold {when}, and the path to {where} was empty, save for {who}.",
    "The bell rang {when} at {where}, and {who} let fall {thing}.",
    "There came {when} to {where} a young traveller whose name was {who}.",
    "They say that {when}, at {where}, a voice called out to {who}.",
    "The news came {when} to {where}, and nobody wept but {who}.",
]
UNSEEN_PATTERNS = [
    "{who}, who was never idle, swept the floor {when} and then hurried to {where}.",
    "The keeper of {where} told {who} a strange tale {when}.",
    "Beside {where} there was music {when}, but {who} would not sing.",
    "A quarrel began {when} at {where}, and only {who} could end it.",
]


def main():
    rng = random.Random(1871)
    triples = list(product(WOMEN + MEN, PLACES, TIMES))
    rng.shuffle(triples)
    train = take_evenly(triples, 480)
    held_out = take_evenly(triples, 120)
    write("train.jsonl", [row(rng, p, t) for p, t in zip(dealt(rng, PATTERNS, 480), train)])
    patterns = dealt(rng, PATTERNS, 88) + dealt(rng, UNSEEN_PATTERNS, 32)
    rows = [{**row(rng, p, t), "unseen_pattern": p in UNSEEN_PATTERNS} for p, t in zip(patterns, held_out)]
    rng.shuffle(rows)
    write("held_out.jsonl", rows)


def take_evenly(triples, count):
    """Takes `count` triples out of the list, no name, place or time much more often than the others."""
    limits = [count // len(facts) + 1 for facts in (WOMEN + MEN, PLACES, TIMES)]
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
    facts = dict(zip(("who", "where", "when"), triple))
    he, his = ("she", "her") if facts["who"] in WOMEN else ("he", "his")
    prompt = pattern.format(**facts, he=he, his=his, thing=rng.choice(THINGS))
    # Each fact is there once, and no rival from the same set.
    assert all(sum(prompt.count(f) for f in known) == 1 for known in (WOMEN + MEN, PLACES, TIMES)), prompt
    assert len(prompt.split()) <= 20, prompt
    return {"prompt": prompt, "completion": json.dumps(facts)}


def write(name, rows):
    (HERE / name).write_text("".join(json.dumps(r) + "\n" for r in rows), encoding="utf-8")


if __name__ == "__main__":
    main()
