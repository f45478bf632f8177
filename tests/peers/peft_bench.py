#!/usr/bin/env python3
"""Tokens a second of LoRA steps in Hugging Face PEFT, on random weights: the peer of `stratune bench`.

    pip install torch transformers peft
    python tests/peers/peft_bench.py --geometry tests/geometries/smollm2-135m.json --batch 2 --seq 128

LoRA on all linear layers, f32, AdamW. Prints one line of JSON: the median over --steps, after one that is not measured.
"""

import argparse
import json
import os
import statistics
import time

parser = argparse.ArgumentParser()
parser.add_argument("--geometry", required=True, help="config.json")
parser.add_argument("--batch", type=int, default=2)
parser.add_argument("--seq", type=int, default=128)
parser.add_argument("--rank", type=int, default=8)
parser.add_argument("--steps", type=int, default=20)
parser.add_argument("--threads", type=int, default=2)
parser.add_argument("--device", default="cpu")
given = parser.parse_args()

os.environ["OMP_NUM_THREADS"] = str(given.threads)
import torch  # noqa: E402, after the number of threads
from peft import LoraConfig, TaskType, get_peft_model  # noqa: E402
from transformers import AutoConfig, AutoModelForCausalLM  # noqa: E402

torch.set_num_threads(given.threads)
torch.manual_seed(0)
model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(given.geometry), dtype=torch.float32)
lora = LoraConfig(r=given.rank, lora_alpha=2 * given.rank, target_modules="all-linear", task_type=TaskType.CAUSAL_LM)
model = get_peft_model(model, lora).to(given.device).train()
trained = [p for p in model.parameters() if p.requires_grad]
optimiser = torch.optim.AdamW(trained, lr=1e-3)
ids = torch.randint(3, model.config.vocab_size, (given.batch, given.seq), device=given.device)
wait = torch.cuda.synchronize if given.device.startswith("cuda") else lambda: None

seconds = []
for _ in range(given.steps + 1):
    wait()
    start = time.perf_counter()
    loss = model(input_ids=ids, labels=ids).loss
    loss.backward()
    optimiser.step()
    optimiser.zero_grad(set_to_none=True)
    wait()
    seconds.append(time.perf_counter() - start)
median = statistics.median(seconds[1:])
print(json.dumps({
    "tokens_per_second": round(given.batch * given.seq / median, 1),
    "step_seconds": round(median, 4),
    "trainable": sum(p.numel() for p in trained),
    "loss": round(loss.item(), 4),
}))
