#!/usr/bin/env python3
"""What transformers ranks of a task's choices, row by row beside `stratune eval --task`.

    pip install torch transformers
    stratune eval --model MODEL --task piqa --data FOLDER --limit 200 --answers piqa.jsonl
    python tests/peers/task_likelihood.py --model MODEL --data FOLDER --task piqa --answers piqa.jsonl

MODEL is a folder in Hugging Face form, FOLDER that of LLM-Adapters' data sets. Texts are made here from the files, by the
definitions of EleutherAI's lm-evaluation-harness, and log-likelihoods in f32. Prints one line of JSON: both accuracies, how
many rows are answered alike, and the largest difference of a log-likelihood.
"""

import argparse
import json
import os
import re

parser = argparse.ArgumentParser()
parser.add_argument("--model", required=True)
parser.add_argument("--data", required=True)
parser.add_argument("--task", required=True)
parser.add_argument("--answers", required=True)
parser.add_argument("--threads", type=int, default=2)
given = parser.parse_args()

os.environ["OMP_NUM_THREADS"] = str(given.threads)
import torch  # noqa: E402, after the number of threads
from transformers import AutoModelForCausalLM, AutoTokenizer  # noqa: E402

torch.set_num_threads(given.threads)


def options(text, word, count, between=" ", end="\n\n"):
    """Question and options of an instruction whose options are called word1, word2, …; spaces within them stay."""
    body = text.rsplit("Answer format:", 1)[0].removesuffix(end)
    question, rest = body.split(f"\n\n{word}1: ", 1)
    found = []
    for n in range(2, count + 1):
        option, rest = rest.split(f"{between}{word}{n}: ", 1)
        found.append(option)
    return question, found + [rest]


def count(text):
    return len(text.rsplit("Answer format:", 1)[1].strip().split("/"))


def boolq(text):
    question = re.search(r"question: (.*?)\n", text, re.S).group(1).rstrip("?")
    return [(f"Question: {question}?\nAnswer:", " yes"), (f"Question: {question}?\nAnswer:", " no")], ["true", "false"]


def piqa(text):
    question, ways = options(text, "Solution", 2, "\n\n")
    question = question.split("to the question: ", 1)[1]
    return [(f"Question: {question}\nAnswer:", f" {way}") for way in ways], ["solution1", "solution2"]


def arc(text):
    question, ways = options(text, "Answer", count(text))
    question = question.split("to the question: ", 1)[1]
    return [(f"Question: {question}\nAnswer:", f" {way}") for way in ways], [f"answer{n + 1}" for n in range(len(ways))]


def openbookqa(text):
    question, ways = options(text, "Answer", count(text))
    question = question.split("to the question: ", 1)[1]
    return [(question, f" {way}") for way in ways], [f"answer{n + 1}" for n in range(len(ways))]


def winogrande(text):
    sentence, ways = options(text, "Option", 2, end=" ")
    sentence = sentence.split("the given sentence: ", 1)[1]
    before, behind = sentence.split("_", 1)
    return [(before + way, " " + behind.strip()) for way in ways], ["option1", "option2"]


TASKS = {"boolq": boolq, "piqa": piqa, "arc-easy": arc, "arc-challenge": arc, "openbookqa": openbookqa,
         "winogrande": winogrande}
FOLDERS = {"arc-easy": "ARC-Easy", "arc-challenge": "ARC-Challenge"}

name = given.task.lower().replace("_", "-")
rows = json.load(open(os.path.join(given.data, FOLDERS.get(name, name), "test.json")))
ours = [json.loads(line) for line in open(given.answers)]
tokenizer = AutoTokenizer.from_pretrained(given.model)
model = AutoModelForCausalLM.from_pretrained(given.model, dtype=torch.float32).eval()


@torch.no_grad()
def log_likelihoods(pairs):
    whole = [tokenizer(context + follows, add_special_tokens=False).input_ids for context, follows in pairs]
    before = [len(tokenizer(context.rstrip(), add_special_tokens=False).input_ids) for context, _ in pairs]
    longest = max(map(len, whole))
    ids = torch.tensor([tokens + [0] * (longest - len(tokens)) for tokens in whole])
    mask = torch.tensor([[1] * len(tokens) + [0] * (longest - len(tokens)) for tokens in whole])
    log_p = model(input_ids=ids, attention_mask=mask).logits.log_softmax(-1)
    sums = []
    for row, (tokens, first) in enumerate(zip(whole, before)):
        sums.append(sum(log_p[row, t - 1, tokens[t]].item() for t in range(first, len(tokens))))
    return sums


alike = right = right_ours = 0
furthest = 0.0
for row, our in zip(rows, ours):
    pairs, answers = TASKS[name](row["instruction"])
    theirs = log_likelihoods(pairs)
    best = answers[max(range(len(theirs)), key=lambda i: theirs[i])]
    alike += best == our["answer"]
    right += best == row["answer"]
    right_ours += our["answer"] == row["answer"]
    furthest = max(furthest, *(abs(a - b) for a, b in zip(theirs, our["logprobs"])))
print(json.dumps({"task": name, "rows": len(ours), "transformers": right / len(ours), "stratune": right_ours / len(ours),
                  "answered_alike": alike, "largest_difference": round(furthest, 6)}))
