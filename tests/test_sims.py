"""Every sim answers at its smallest size: a labelled result, a table, figures, a summary; and shows them again."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.trials import environment
from wirelesslab import cli
from wirelesslab.results import load

SMALL = {
    "ser_vs_snr_and_devices": "--snr-db 0 --num-devices 16 --detectors lmmse --min-batches 1 --max-batches 2",
    "ser_phase_map": "--pilots-per-device 0.5 --activity-prob 0.1 --num-antennas 2 --num-devices 16 --detectors lmmse"
    " --min-batches 1 --max-batches 2",
    "train_mampnet": "--steps 12 --layers 2 --passes 1 --frames-per-step 8",
    "mampnet_against_classical": "--cells-per-group 1 --min-batches 1 --max-batches 1 --beyond-batches 1"
    " --frames-per-batch 6",
    "mampnet_ablation": "--variants base,no-refinement --steps 4 --layers 2 --passes 1 --seeds 1 --draws 2 --frames 8",
    "mampnet_mismatch": "--assumed-activity 1,4 --assumed-noise-db 0 --snr-db 0 --k-factor-db 6 --correlation 0,0.9"
    " --activity-law independent --min-batches 2 --max-batches 2 --frames-per-batch 6",
    "ser_over_channels": "--channels rayleigh,kronecker-0.9 --draws 2 --frames 8",
    "asynchronous": "--delays 0,2 --frequencies 2 --draws 2 --frames 4",
    "mampnet_calibration": "--detectors mampnet,amp-block --replicates 3 --cells-per-replicate 1 --frames-per-batch 8",
    "roc": "--detectors lmmse,amp-block,mampnet --replicates 2 --learning-frames 12 --fresh-frames 12 --asked 0.05",
    "mismatch": "--activity-factor 4 --noise-db 6 --gain-db 6 --snr-db 3 --correlation 0.9 --cluster-size 10"
    " --detectors lmmse,amp-block --replicates 2 --frames 8",
    "pilot_design": "--codebooks gaussian,designed --cells overloaded --detectors amp-block --replicates 2 --frames 8",
    "complexity": "--num-devices 10,20 --num-antennas 1,2 --devices 12 --frames 2 --replicas 2"
    " --detectors amp-block,cl-mp",
    "queues_against_theory": "--loads 0.5 --effort 0.01 --replicas 3 --fair-window-slots 1000",
    "slice_isolation": "--floods 1,10 --link-s 0.5 --cell-s 0.5 --replicas 3",
    "planning_and_operation": "--replicas 2 --days 1 --day-s 8",
    "twin_staleness": "--replicas 2 --loads 0.5 --ages-s 200 --periods-s 0.5,4 --phases 1 --phase-s 5",
    "what_if_fidelity": "--replicas 2 --actions 3 --horizon-s 0.5",
    "failure_recovery": "--replicas 2 --packet-bytes 50000",
    "worth_of_a_twin": "--replicas 2 --phases 1 --phase-steps 20 --cell-steps 5 --sync-steps 40 --rehearsed-phases 1"
    " --link-ages-s 0.5",
    "hybrid_models": "--replicas 2 --samples 8,20 --tests 4 --packets 300",
    "terngrad_accuracy_and_bytes": "--replicas 2 --steps 6 --lenet-steps 1",
    "terngrad_over_the_network": "--replicas 2 --lenet-steps 2 --small-steps 4 --bandwidths-bps 1e6",
    "terngrad_convergence": "--replicas 2 --steps 10",
    "grant_free_in_the_network": "--detectors matched-filter --loads 2 --replicas 2 --run-s 0.2 --cells 1"
    " --num-devices 12 --pilot-length 10 --frames 2 --draws 1",
    "million_devices": "--detectors matched-filter --num-antennas 4 --pilot-lengths 16 --replicas 2 --bands 6,16"
    " --codebook-devices 100 --most-active 6 --frames 4 --draws 1 --run-s 30",
    "terngrad_killed_worker": "--replicas 2 --steps 3",
    "models_travel": "--replicas 2 --epochs 1 --sparse-epochs 1 --strengths 0.3 --bandwidths-bps 1e6,1e7 --session-s 1"
    " --check-requests 200",
    "train_agent": "--steps 1024 --episodes 3 --trainings 2",
    "sparsity_speed": "--parts resnet,gemm --resnet-train 64 --resnet-test 50 --resnet-passes 1,2,1"
    " --resnet-strengths 0.5 --choices 1 --shares 0.1,0.4",
    "agents_against_rules": "--tasks twin_sync --trainings 2 --steps-share 0.01 --episodes-share 0.1",
    "agent_generalisation": "--tasks placement,slice_alloc --trainings 2 --steps-share 0.003 --total-loads 0.5"
    " --rounds 1 --phase-steps 4 --short-phase-steps 2 --placed-episodes 2 --num-edges 2 --arrivals-per-s 2",
    "few_shot_calibration": "--parts conv4,bends --worlds 1 --bends 0.18 --bend-worlds 1 --epochs 1 --pictures 21"
    " --episodes 6 --fewer 4 --sampled 2 --tuning 2 --ways 2",
    "rare_classes": "--parts deeplab --small-replicas 2 --steps 2 --train 16 --test 40",
    "growth": "--users 200,400,2000 --fit-from 100 --rounds 2 --processes 1",
}


def test_every_sim_is_here():
    assert set(SMALL) == set(cli.sim_files())


@pytest.fixture(scope="module", params=SMALL)
def run(request, tmp_path_factory) -> tuple[str, Path, str]:
    """A sim's name, the folder of its finished run, and what it printed."""
    name = request.param
    out = tmp_path_factory.mktemp(name) / "result"
    command = [sys.executable, "-m", "wirelesslab", "run", name, "--quick", "--seed", "3", "--workers", "1"]
    ended = subprocess.run(
        [*command, *SMALL[name].split(), "--out", str(out)],
        env=environment(), capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr[-2000:]
    return name, out, ended.stdout


def test_it_saves_counts_with_intervals_and_where_they_came_from(run):
    name, out, _ = run
    result = load(out)
    lows = [str(low) for low in result if "_low" in str(low)]
    assert lows or "replica" in result.dims  # of which the table makes intervals
    for low in lows:
        ends = result[low].values, result[low.replace("_low", "_high")].values
        known = np.isfinite(ends[0]) & np.isfinite(ends[1])
        assert known.any()
        assert np.all(ends[0][known] <= ends[1][known])
    if "ser" in result:
        known = np.isfinite(result["ser"].values)
        for low, high in (("ser_low", "ser"), ("ser", "ser_high")):
            assert np.all(result[low].values[known] <= result[high].values[known] + 1e-12)
        ratio = result["errors"].values[known] / result["attempts"].values[known]
        np.testing.assert_allclose(result["ser"].values[known], ratio, rtol=1e-12)
    assert result.attrs["sim"] == name
    assert f"run {name} --quick" in result.attrs["command"]
    assert json.loads(result.attrs["versions"])["wirelesslab"]


def test_it_draws_figures_and_sums_up(run):
    _, out, printed = run
    summary = json.loads((out / "summary.json").read_text(encoding="utf-8"))
    assert summary["figures_of_merit"]
    assert summary["table"] in printed
    assert {Path(figure).suffix for figure in summary["figures"]} == {".png", ".svg"}
    assert all((out / figure).stat().st_size > 5000 for figure in summary["figures"])


def test_show_draws_it_again(run):
    _, out, _ = run
    summary = json.loads((out / "summary.json").read_text(encoding="utf-8"))
    first = out / summary["figures"][0]
    before = first.read_bytes()
    first.unlink()
    ended = subprocess.run(
        [sys.executable, "-m", "wirelesslab", "show", str(out)],
        env=environment(), capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr[-2000:]
    assert summary["table"] in ended.stdout
    assert first.read_bytes() == before
