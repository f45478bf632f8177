#!/usr/bin/env python3
"""What llama.cpp makes of what `stratune merge` writes: does it say the same, and is it as good in few bits?

    LLAMA_CPP=…/build/bin python tests/peers/llama_cpp.py --stratune stratune --model BASE --data ROWS --text TEXT --out OUT

BASE is a GGUF file or a folder, ROWS are trained on for some steps unless OUT/run is there, TEXT is what perplexities are of.
LLAMA_CPP has llama-completion, llama-quantize, llama-perplexity, llama-export-lora and their libraries.

  text      the merged model in f16: greedy text of `stratune generate` on the file, and of llama.cpp
  adapter   the adapter in GGUF on the base in f16: greedy text of llama.cpp, and its text of the merged model
  export    the same as tensors: what llama-export-lora merges, beside ours
  quantised perplexity of the merged model in few bits, as we and as llama-quantize write it from the same f16 file

Prints a row of a table for each.
"""

import argparse
import os
import pathlib
import re
import subprocess
import sys

parser = argparse.ArgumentParser()
parser.add_argument("--stratune", default="stratune")
parser.add_argument("--model", required=True)
parser.add_argument("--data", required=True)
parser.add_argument("--text", required=True)
parser.add_argument("--out", required=True, type=pathlib.Path)
parser.add_argument("--steps", type=int, default=40)
parser.add_argument("--tokens", type=int, default=32)
parser.add_argument("--chunks", type=int, default=8)
parser.add_argument("--threads", type=int, default=2)
given = parser.parse_args()

BIN = pathlib.Path(os.environ.get("LLAMA_CPP") or sys.exit("LLAMA_CPP names the folder with llama.cpp's programs"))
ENV = {**os.environ, "LD_LIBRARY_PATH": f"{BIN}:{os.environ.get('LD_LIBRARY_PATH', '')}"}
QUANTS = ["q8_0", "q4_0", "q4_k_m"]
PROMPTS = ["The history of the railway began", "Water boils at", "In the morning the old man", "def fibonacci(n):"]


def run(*command):
    done = subprocess.run([str(part) for part in command], capture_output=True, env=ENV, stdin=subprocess.DEVNULL)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))}\n{done.stderr.decode(errors='replace')[-2000:]}")
    return done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace")


def merge(to, *more):
    out = given.out / to
    if not out.exists():
        run(given.stratune, "merge", "--model", given.model, "--out", out, *more)
    return out


def ours(model, prompt):
    say = ["generate", "--model", model, "--device", "cpu", "--max-tokens", given.tokens, "--prompt", prompt]
    return run(given.stratune, *say)[0].strip()


def theirs(model, prompt, *more):
    # Without sampling, a cache of fewer bits, or a chat around the prompt.
    say = ["-p", prompt, "-n", given.tokens, "--temp", 0, "-no-cnv", "--no-display-prompt", "--no-warmup", "-t", given.threads]
    return run(BIN / "llama-completion", "-m", model, *say, *more)[0].replace("[end of text]", "").strip()


def perplexity(model):
    told = "".join(run(BIN / "llama-perplexity", "-m", model, "-f", given.text, "-c", 512, "--chunks", given.chunks, "-t", given.threads))
    return float(re.search(r"Final estimate: PPL = ([0-9.]+)", told).group(1))


def largest_difference(one, other):
    import numpy as np
    from gguf import GGUFReader
    from gguf.quants import dequantize

    tensors = [{t.name: dequantize(t.data, t.tensor_type) for t in GGUFReader(file).tensors} for file in (one, other)]
    assert tensors[0].keys() == tensors[1].keys(), tensors[0].keys() ^ tensors[1].keys()
    off = {name: np.abs(tensors[0][name].astype(np.float32) - tensors[1][name].astype(np.float32)).max() for name in tensors[0]}
    moved = max(float(np.abs(t).max()) for t in tensors[0].values())
    return max(off.values()), moved


given.out.mkdir(parents=True, exist_ok=True)
adapter = given.out / "run"
if not (adapter / "adapter_model.safetensors").exists():
    train = ["--data", given.data, "--steps", given.steps, "--batch-size", 2, "--max-length", 96, "--learning-rate", 1e-3]
    run(given.stratune, "train", "--model", given.model, *train, "--device", "cpu", "--overwrite", "--out", adapter)
f16 = merge("f16", "--adapter", adapter, "--format", "gguf", "--quant", "f16") / "model.gguf"
base = merge("base", "--format", "gguf", "--quant", "f16") / "model.gguf"
lora = merge("adapter", "--adapter", adapter, "--format", "gguf-adapter") / "adapter.gguf"

same = {"text": 0, "adapter": 0, "moved": 0}
for prompt in PROMPTS:
    tuned = theirs(f16, prompt)
    same["text"] += ours(f16, prompt) == tuned
    same["adapter"] += theirs(base, prompt, "--lora", lora) == tuned
    same["moved"] += theirs(base, prompt) != tuned
print(f"| greedy text of {given.tokens} tokens, merged f16: ours and llama.cpp's | {same['text']} of {len(PROMPTS)} the same |")
print(f"| adapter GGUF on the f16 base, and the merged model, both in llama.cpp | {same['adapter']} of {len(PROMPTS)} the same |")
print(f"| base and merged model in llama.cpp | {same['moved']} of {len(PROMPTS)} differ |")

exported = given.out / "exported.gguf"
run(BIN / "llama-export-lora", "-m", base, "--lora", lora, "-o", exported)
off, largest = largest_difference(exported, f16)
print(f"| largest difference of a number, llama-export-lora's and our merged f16 | {off:.2e} of {largest:.3g} |")

print(f"| f16 | perplexity {perplexity(f16):.4f} |")
for quant in QUANTS:
    mine = merge(quant, "--adapter", adapter, "--format", "gguf", "--quant", quant) / "model.gguf"
    other = given.out / f"{quant}.gguf"
    if not other.exists():
        run(BIN / "llama-quantize", f16, other, quant.upper())
    ours_, theirs_ = perplexity(mine), perplexity(other)
    sizes = mine.stat().st_size, other.stat().st_size
    print(f"| {quant} | perplexity {ours_:.4f}, llama-quantize's {theirs_:.4f} ({100 * (ours_ / theirs_ - 1):+.2f} %); {sizes[0] / 1e6:.1f} MB, {sizes[1] / 1e6:.1f} MB |")
