"""The density core against a plain implementation of the same mathematics, in one run on one machine.

    .venv/bin/python benchmarks/density.py [--device cuda] [--columns 2 512 1152] [--hidden 4096 4096] [--batch 2048]
    .venv/bin/python benchmarks/density.py --only toy
    .venv/bin/python benchmarks/density.py --only disk --rows 5000000

plain: torch's own layers and double backward in float32, rows that are noisy and clean in passes of their own; to
score, one noise level after another, energy and score norm. Ours: `mulde.density` as the estimator runs it. Each line
is a process of its own (so that peak memory is its own), and prints the best of its repetitions. `toy`: seconds of
training until a held-out loss is reached. `precisions`: AUC after training in float32 and in bfloat16. `disk`: a
Parquet file of many rows x 512 columns, written first, then scored in pieces.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import math
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn

from mulde.density.devices import PRECISIONS, products_in
from mulde.density.energy import EnergyNet
from mulde.density.estimator import MuldeDensity
from mulde.density.heldout import HeldoutEvaluator
from mulde.density.noise import sigma_levels
from mulde.density.options import MuldeOptions
from mulde.density.reading import read_levels
from mulde.density.toy import draw_toy_set
from mulde.density.trainer import Training, train

LOW, HIGH, LEVELS, BETA = 1e-3, 1.0, 16, 0.1
PEAK_BF16 = {"H100": 989e12, "H200": 989e12, "A100": 312e12}  # dense, as their maker states it


def plain_net(columns: int, hidden: list[int], seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    layers: list[nn.Module] = []
    for into, out in zip([columns + 1, *hidden], hidden, strict=False):
        layers += [nn.Linear(into, out), nn.GELU()]
    return nn.Sequential(*layers, nn.Linear(hidden[-1], 1))


def plain_step(net: nn.Sequential, optimiser: torch.optim.Optimizer, x: Tensor) -> None:
    """Equations 1 to 4 of docs/method.md, as one would first write them."""
    s = torch.exp(torch.empty(len(x), 1, device=x.device).uniform_(math.log(LOW), math.log(HIGH)))
    noisy = (x + s * torch.randn_like(x)).requires_grad_()
    energy = net(torch.cat([noisy, s], dim=1))
    (gradient,) = torch.autograd.grad(energy.sum(), noisy, create_graph=True)
    dsm = 0.5 * (s**2 * (gradient - (noisy - x) / s**2).square().sum(dim=1, keepdim=True)).mean()
    reg = 0.5 * BETA * net(torch.cat([x, s], dim=1)).square().mean()
    optimiser.zero_grad()
    (dsm + reg).backward()
    optimiser.step()


def plain_read(net: nn.Sequential, x: Tensor) -> Tensor:
    """Energy and score norm at one level after another, (N, 2 L)."""
    columns = []
    for level in sigma_levels(LOW, HIGH, LEVELS).tolist():
        rows = x.clone().requires_grad_()
        energy = net(torch.cat([rows, torch.full((len(x), 1), level, device=x.device)], dim=1))
        (gradient,) = torch.autograd.grad(energy.sum(), rows)
        columns += [energy.detach()[:, 0], gradient.square().sum(dim=1)]
    return torch.stack(columns, dim=1)


def settings(batch: int, steps: int, *, lr: float = 4e-5, schedule: str = "constant") -> Training:
    return Training(
        steps=steps, batch_size=batch, lr=lr, schedule=schedule, beta=BETA, sigma_low=LOW,
        sigma_high=HIGH, eval_every=1, patience=10**9,
        seed=0,
    )  # fmt: skip


def wait(device: str) -> float:
    if device.startswith("cuda"):
        torch.cuda.synchronize()
    return time.perf_counter()


def best_interval(times: list[float]) -> float:
    return min(b - a for a, b in itertools.pairwise(times))


def one(variant: str, columns: int, hidden: list[int], batch: int, device: str, repeat: int) -> dict[str, float]:
    """Seconds per training step and per scoring of `batch` rows, and peak memory, of one implementation."""
    x = torch.randn(batch, columns, device=device)
    sigma = torch.from_numpy(sigma_levels(LOW, HIGH, LEVELS)).float().to(device)
    times: list[float] = []
    if variant == "plain":
        net = plain_net(columns, hidden).to(device)
        optimiser = torch.optim.Adam(net.parameters(), lr=4e-5, betas=(0.5, 0.9))
        for _ in range(repeat + 2):
            times.append(wait(device))
            plain_step(net, optimiser, x)
        times.append(wait(device))
        optimiser.zero_grad()
        reads = [wait(device)]
        for _ in range(max(repeat // 2, 1)):
            plain_read(net, x)
            reads.append(wait(device))
    else:
        ours = EnergyNet(columns, hidden, precision=PRECISIONS[variant])
        ours.initialise(torch.Generator().manual_seed(0))
        ours.to(device)
        with products_in(variant):
            train(ours, x, None, settings(batch, repeat + 3), lambda look: times.append(wait(device)))
            rows = x.cpu().numpy()
            reads = [wait(device)]
            for _ in range(repeat + 1):
                read_levels(ours, rows, sigma, "energy", lambda part: torch.from_numpy(part).to(device))
                reads.append(wait(device))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    if device.startswith("cuda"):
        peak = torch.cuda.max_memory_allocated() / 2**30
    return {"step_s": best_interval(times[1:]), "read_s": best_interval(reads), "peak_gib": peak}


def flops_per_step(columns: int, hidden: list[int], batch: int) -> float:
    """Of the matrix products of one step: noisy rows 2 forward and 4 backward, clean rows 1 and 2 (each 2 B m n)."""
    sizes = [columns, *hidden]
    return sum(9 * 2 * batch * a * b for a, b in zip(sizes, hidden, strict=False))


def compare(args: argparse.Namespace) -> list[dict]:
    device = args.device
    name = torch.cuda.get_device_name() if device.startswith("cuda") else f"CPU, {torch.get_num_threads()} threads"
    print(f"{name}; hidden {args.hidden}, batch {args.batch}, {LEVELS} levels; best of {args.repeat} repetitions")
    for dtype in (torch.float32, torch.bfloat16):
        a = torch.randn(args.batch, args.hidden[0], device=device, dtype=dtype)
        w = torch.randn(args.hidden[0], args.hidden[0], device=device, dtype=dtype)
        times = [wait(device)]
        for _ in range(6):
            a @ w
            times.append(wait(device))
        print(f"a bare product in {dtype}: {2 * a.numel() * len(w) / best_interval(times[1:]) / 1e9:,.0f} GFLOP/s")
    variants = ["plain", "float32", "bfloat16", *(["tf32"] if device.startswith("cuda") else [])]
    rows = []
    print(f"{'columns':>7} {'variant':<17} {'steps/s':>8} {'ratio':>6} {'rows/s':>10} {'ratio':>6} {'peak GiB':>8}")
    for columns in args.columns:
        plain: dict[str, float] = {}
        for variant in variants:
            command = [
                sys.executable,
                __file__,
                "--device",
                device,
                "--repeat",
                str(args.repeat),
                "--batch",
                str(args.batch),
            ]
            command += ["--one", variant, "--columns", str(columns), "--hidden", *map(str, args.hidden)]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            found = json.loads(done.stdout.splitlines()[-1])
            plain = plain or found
            rows.append({"columns": columns, "variant": variant, **found})
            share = ""
            if variant.startswith("bfloat16") and device.startswith("cuda"):
                rate = flops_per_step(columns, args.hidden, args.batch) / found["step_s"]
                peaks = [peak for card, peak in PEAK_BF16.items() if card in name]
                share = f"  {rate / 1e12:.0f} TFLOP/s" + (f", {100 * rate / peaks[0]:.0f} % of peak" if peaks else "")
            print(
                f"{columns:>7} {variant:<17} {1 / found['step_s']:>8.3f} {plain['step_s'] / found['step_s']:>6.2f} "
                f"{args.batch / found['read_s']:>10,.0f} {plain['read_s'] / found['read_s']:>6.2f} "
                f"{found['peak_gib']:>8.2f}{share}",
                flush=True,
            )
    return rows


def toy(args: argparse.Namespace) -> list[dict]:
    """Seconds until the held-out loss of the toy set is reached, by ours and the plain step, each at both sizes."""
    drawn, held = draw_toy_set(0), draw_toy_set(1, num_test=500).normal
    fast = MuldeOptions()
    sizes = {
        "fast": (list(fast.hidden), fast.batch_size, fast.lr, fast.steps, fast.schedule),
        "reference": ([4096, 4096], 2048, 5e-4, 10**6, "constant"),
    }
    mean, std = drawn.train.mean(axis=0), drawn.train.std(axis=0, ddof=1)
    x = torch.from_numpy((drawn.train - mean) / std).float()
    judged = torch.from_numpy((held - mean) / std).float()
    print(f"toy set: seconds of training to a held-out loss of {args.target}, at most {args.seconds} s each")
    rows = []
    for size, (hidden, batch, lr, steps, schedule) in sizes.items():
        for variant in ("plain", "float32"):
            evaluator, spent, reached, loss = (
                HeldoutEvaluator(judged, LOW, HIGH, torch.device("cpu")),
                0.0,
                None,
                math.nan,
            )
            how = settings(batch, steps, lr=lr, schedule=schedule)
            ours = EnergyNet(2, hidden)
            started = time.perf_counter()
            if variant == "plain":
                net = plain_net(2, hidden)
                optimiser = torch.optim.Adam(net.parameters(), lr=lr, betas=(0.5, 0.9))
                torch.manual_seed(0)
                for step in range(1, steps + 1):
                    optimiser.param_groups[0]["lr"] = how.rate(step)
                    plain_step(net, optimiser, x[torch.randint(len(x), (batch,))])
                    if step % (250 if size == "fast" else 5) and step < steps:
                        continue
                    spent += time.perf_counter() - started
                    with torch.no_grad():
                        for i in range(len(hidden) + 1):
                            ours.weights[i].copy_(net[2 * i].weight)
                            ours.biases[i].copy_(net[2 * i].bias)
                    loss = evaluator.measure(ours, step).heldout_loss or math.nan
                    if loss <= args.target or spent > args.seconds:
                        reached = spent if loss <= args.target else None
                        break
                    started = time.perf_counter()
            else:
                ours.initialise(torch.Generator().manual_seed(0))
                seen: list[tuple[float, float]] = []

                def note(look, seen=seen, started=started):  # noqa: ANN001, ANN202
                    seen.append((time.perf_counter() - started, look.heldout_loss or math.nan))
                    if look.heldout_loss and (look.heldout_loss <= args.target or seen[-1][0] > args.seconds):
                        raise StopIteration

                every = {"fast": 250, "reference": 5}[size]
                with contextlib.suppress(StopIteration):
                    train(ours, x, judged, Training(**{**vars(how), "eval_every": every}), note)
                spent, loss = seen[-1]
                reached = spent if loss <= args.target else None
            rows.append({"size": size, "variant": variant, "seconds": reached, "loss": loss, "spent": spent})
            said = f"{reached:.1f} s" if reached else f"not reached: {loss:.4f} after {spent:.0f} s"
            print(f"{size:<10} {variant:<8} {said}", flush=True)
    return rows


def precisions(args: argparse.Namespace) -> list[dict]:
    """AUC on the toy set of densities that were trained in either number format, three seeds each."""
    rows = []
    print("toy set: AUC of the mixture over the levels, and of the energy averaged over levels up to 0.667")
    for seed in range(3):
        drawn, held = draw_toy_set(seed), draw_toy_set(seed + 100, num_test=500).normal
        truth = np.repeat([0, 1], [len(drawn.normal), len(drawn.anomalous)])
        test = np.concatenate([drawn.normal, drawn.anomalous])
        for precision in ("float32", "bfloat16"):
            density = MuldeDensity(precision=precision, seed=seed, device=args.device).fit(drawn.train, heldout=held)
            levels = density.energies(test)[:, density.sigma_ <= 0.667]
            aucs = [roc_auc_score(truth, level) for level in levels.T]
            found = {"mixture": roc_auc_score(truth, density.anomaly_score(test)), "levels": float(np.mean(aucs))}
            rows.append({"seed": seed, "precision": precision, "heldout": density.trained_.heldout_loss, **found})
            print(
                f"seed {seed} {precision:<8} {100 * found['mixture']:.3f} {100 * found['levels']:.3f} "
                f"held-out loss {density.trained_.heldout_loss:.4f}",
                flush=True,
            )
    return rows


def disk(args: argparse.Namespace) -> list[dict]:
    """Rows per second and peak memory of scoring a Parquet file of 512 columns in a process of its own."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        source, rng = Path(folder) / "rows.parquet", np.random.default_rng(0)
        schema = pa.schema([("values", pa.list_(pa.float32(), 512))])
        with pq.ParquetWriter(source, schema, compression="none", use_dictionary=False) as writer:
            for start in range(0, args.rows, 2**16):
                block = rng.standard_normal((min(2**16, args.rows - start), 512), dtype=np.float32)
                writer.write_table(pa.table([pa.FixedSizeListArray.from_arrays(block.ravel(), 512)], schema=schema))
        print(f"{args.rows} rows x 512, {source.stat().st_size / 2**30:.1f} GiB on disk")
        command = [sys.executable, __file__, "--device", args.device, "--score", str(source)]
        found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1])
    print(f"{found['rows'] / found['seconds']:,.0f} rows/s, peak memory {found['peak_gib']:.2f} GiB, python and torch "
          f"included ({found['before_gib']:.2f} GiB before the first row)")  # fmt: skip
    return [found]


def score_from_disk(source: Path, device: str) -> dict[str, float]:
    from mulde.pipeline.scoring.parquet import score_parquet

    density = MuldeDensity(hidden=(64,), steps=20, device=device)
    density.fit(np.random.default_rng(1).standard_normal((5000, 512), dtype=np.float32))
    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, time.perf_counter()
    rows = score_parquet(density, source, source.with_name("scores.parquet"))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return {"rows": rows, "seconds": time.perf_counter() - start, "peak_gib": peak, "before_gib": before}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--columns", type=int, nargs="+", default=[2, 512, 1152])
    parser.add_argument("--hidden", type=int, nargs="+", default=[4096, 4096])
    parser.add_argument("--batch", type=int, default=2048)
    parser.add_argument("--repeat", type=int, default=4)
    parser.add_argument("--only", choices=["compare", "toy", "precisions", "disk"])
    parser.add_argument("--target", type=float, default=0.72, help="held-out loss of the toy set")
    parser.add_argument("--seconds", type=float, default=120, help="most seconds for one training of the toy set")
    parser.add_argument("--rows", type=int, default=5_000_000)
    parser.add_argument("--folder", type=Path, help="where the big file is written; default: the system's place")
    parser.add_argument("--out", type=Path, help="JSON file with all figures")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--score", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        print(json.dumps(one(args.one, args.columns[0], args.hidden, args.batch, args.device, args.repeat)))
    elif args.score:
        print(json.dumps(score_from_disk(args.score, args.device)))
    else:
        parts = {"compare": compare, "toy": toy, "precisions": precisions, "disk": disk}
        found = {name: part(args) for name, part in parts.items() if args.only in (None, name)}
        if args.out:
            args.out.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
