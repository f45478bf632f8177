#!/usr/bin/env python3
"""The same run in Hugging Face PEFT: the same rows in the same order from the same adapter, and how far its losses are apart.

    cargo run --release -p stratune-session --example batches -- tests/peers/minilm-sst2.toml peer
    stratune train --config tests/peers/minilm-sst2.toml --out run --overwrite
    pip install torch transformers peft
    python tests/peers/peft_curves.py --run run --peer peer

AdamW with the learning rates that the run tells, f32, no dropout, rows padded to the longest of their batch. Prints one line
of JSON: the largest and the mean difference of the losses, as a share, and seconds of both.
"""

import argparse
import json
import os
import pathlib
import statistics
import time
import tomllib

parser = argparse.ArgumentParser()
parser.add_argument("--run", required=True, help="the run's folder, of run.toml and metrics.jsonl")
parser.add_argument("--peer", required=True, help="folder of begin and batches.jsonl")
parser.add_argument("--threads", type=int, default=2)
given = parser.parse_args()

os.environ["OMP_NUM_THREADS"] = str(given.threads)
import torch  # noqa: E402, after the number of threads
from peft import PeftConfig, PeftModel  # noqa: E402
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSequenceClassification  # noqa: E402

torch.set_num_threads(given.threads)
peer = pathlib.Path(given.peer)
folder = pathlib.Path(given.run)
run = tomllib.loads((folder / "run.toml").read_text())
batches = [json.loads(line) for line in (peer / "batches.jsonl").open()]
events = [json.loads(line) for line in (folder / "metrics.jsonl").open()]
steps = [event for event in events if event["event"] == "step"]

labelled = batches[0][0]["label"] is not None
config = AutoConfig.from_pretrained(run["model"])
for key in vars(config):
    if "drop" in key and isinstance(getattr(config, key), float):
        setattr(config, key, 0.0)
if labelled:
    config.num_labels = 1 + max(row["label"] for batch in batches for row in batch)
    base = AutoModelForSequenceClassification.from_pretrained(run["model"], config=config, dtype=torch.float32)
else:
    base = AutoModelForCausalLM.from_pretrained(run["model"], config=config, dtype=torch.float32)
adapter = PeftConfig.from_pretrained(peer / "begin")
model = PeftModel.from_pretrained(base, peer / "begin", config=adapter, is_trainable=True).train()
train = run.get("train", {})
trained = [p for p in model.parameters() if p.requires_grad]
optimiser = torch.optim.AdamW(trained, lr=1.0, weight_decay=train.get("weight_decay", 0.0))


def padded(rows, key, fill):
    width = max(len(row["tokens"]) for row in rows)
    return torch.tensor([list(row[key]) + [fill] * (width - len(row[key])) for row in rows])


losses, seconds, tokens = [], [], 0
for batch, step in zip(batches, steps):
    start = time.perf_counter()
    ids = padded(batch, "tokens", 0)
    inputs = {"input_ids": ids, "attention_mask": padded([{**r, "mask": [1] * len(r["tokens"])} for r in batch], "mask", 0)}
    if labelled:
        if batch[0]["type_ids"]:
            inputs["token_type_ids"] = padded(batch, "type_ids", 0)
        inputs["labels"] = torch.tensor([row["label"] for row in batch])
    else:
        inputs["labels"] = ids.masked_fill(~padded(batch, "loss_mask", False).bool(), -100)
    loss = model(**inputs).loss
    loss.backward()
    if (most := train.get("clip_norm", 1.0)) > 0:
        torch.nn.utils.clip_grad_norm_(trained, most)
    for group in optimiser.param_groups:
        group["lr"] = step["learning_rate"]
    optimiser.step()
    optimiser.zero_grad(set_to_none=True)
    losses.append(loss.item())
    seconds.append(time.perf_counter() - start)
    tokens += sum(len(row["tokens"]) for row in batch)

apart = [abs(step["loss"] - loss) / loss for step, loss in zip(steps, losses)]
ours = [step["tokens"] / step["tokens_per_second"] for step in steps]
print(json.dumps({
    "steps": len(losses),
    "tokens": tokens,
    "largest_difference": round(max(apart), 5),
    "mean_difference": round(statistics.mean(apart), 6),
    "last_losses": [round(steps[len(losses) - 1]["loss"], 5), round(losses[-1], 5)],
    "median_step_seconds": [round(statistics.median(ours), 4), round(statistics.median(seconds), 4)],
    "total_seconds": [round(sum(ours), 2), round(sum(seconds), 2)],
    "speed_ratio": round(sum(seconds) / sum(ours), 3),
}))
