"""Few shots: all rules in 1,000 episodes from cached features, on one core."""

import time
from dataclasses import replace

import numpy as np

from benchmarks.timing import verdict
from wirelesslab.rng import stream
from wirelesslab.threads import one_thread
from wirelesslab.vision.few_shot import DistributionCalibration, Episodes, Pool, accuracies, line_up

BASE, NOVEL, IMAGES = 64, 20, 100
EPISODES, PUBLISHED_EPISODES = 1000, 64


def pools(dimension: int) -> tuple[Pool, Pool]:
    """Return made-up features of base and novel classes, none negative, about half of them 0, float32."""
    rng = stream(1, "features", dimension)
    means = rng.standard_normal((BASE + NOVEL, 1, dimension)) * (3 / np.sqrt(dimension))
    features = np.maximum(means + 0.7 * rng.standard_normal((BASE + NOVEL, IMAGES, dimension)), 0).astype(np.float32)
    labels = np.repeat(np.arange(BASE + NOVEL), IMAGES)
    cut = BASE * IMAGES
    flat = features.reshape(-1, dimension)
    return Pool(flat[:cut], labels[:cut]), Pool(flat[cut:], labels[cut:])


def main() -> bool:
    """Print every figure beside its bar; return whether all hold."""
    held = []
    with one_thread():
        for dimension in (64, 640):
            base, novel = pools(dimension)
            for shots in (1, 5):
                drawn = Episodes(shots=shots, count=EPISODES).draw(novel.labels)
                found, took = line_up(shots), {}
                priors = {name: rule.prior(base.features, base.labels) for name, rule in found.items()}
                few = Episodes(shots=shots, count=8).draw(novel.labels)
                accuracies(found, base, novel, few, priors)
                for name, rule in found.items():
                    begin = time.thread_time()
                    accuracies({name: rule}, base, novel, drawn, {name: priors[name]})
                    took[name] = time.thread_time() - begin
                begin = time.thread_time()
                accuracies(found, base, novel, drawn, priors)
                whole = time.thread_time() - begin
                parts = ", ".join(f"{name} {seconds / took['nearest neighbour']:.1f}" for name, seconds in took.items())
                print(f"      times that of nearest neighbours ({took['nearest neighbour']:.3f} s): {parts}")
                what = f"all rules in {EPISODES} 5-way {shots}-shot episodes of {dimension} features, seconds"
                if shots == 1:
                    held.append(verdict(what, whole, 5.0, at_least=False))
                else:
                    print(f"      {what}: {whole:.3g}")
        base, novel = pools(64)
        large = replace(DistributionCalibration.published(), tolerance=1e-3)
        drawn = Episodes(count=PUBLISHED_EPISODES).draw(novel.labels)
        prior = large.prior(base.features, base.labels)
        begin = time.thread_time()
        accuracies({"large": large}, base, novel, drawn, {"large": prior})
        each = (time.thread_time() - begin) / PUBLISHED_EPISODES
        print(
            f"      distributions calibrated as published, 750 samples of each class: {1e3 * each:.1f} ms per episode"
        )
    return all(held)


if __name__ == "__main__":
    main()
