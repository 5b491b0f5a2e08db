"""Slow, obvious versions of few-shot rules: an episode and a vector at a time, as published codes and spec say it."""

import math

import numpy as np


def l2(vector):
    """Return a vector of length 1."""
    return vector / math.sqrt(sum(float(v) ** 2 for v in vector))


def class_means(features, labels):
    """Return the mean of each class, in the order of labels."""
    return [sum(f for f, k in zip(features, labels, strict=True) if k == label) / list(labels).count(label)
            for label in sorted(set(labels))]  # fmt: skip


def pull(weights, places, means):
    """Return the sum of means at `places` weighted by the softmax of `weights`."""
    top = max(weights)
    raised = [math.exp(w - top) for w in weights]
    return sum((r / sum(raised) * means[p] for r, p in zip(raised, places, strict=True)), np.zeros(len(means[0])))


def calibrated(means, support, a, b, near, *, beta=0.5, scale_free=False, tau=0.05, gamma=0.35):
    """Return calibrated shots, not normalised, as nested lists [way][shot]."""
    near = min(near, len(means))
    if scale_free:
        means = [l2(p) for p in means]

    def products(x):
        xp = np.array([float(v) ** beta for v in x])
        return [float(l2(xp) @ p) / tau if scale_free else float(xp @ p) for p in means]

    def nearest(w):
        return sorted(range(len(w)), key=lambda c: (-w[c], c))[:near]

    union = sorted({c for way in support for x in way for c in nearest(products(x))})
    result = []
    for way in support:
        result.append([])
        for x in way:
            xp, w = np.array([float(v) ** beta for v in x]), products(x)

            def moved(places, xp=xp, w=w):
                drawn = pull([w[c] for c in places], places, means)
                return l2(l2(xp) + gamma * l2(drawn)) if scale_free else l2(drawn + xp)

            result[-1].append((1 - a - b) * l2(x) + a * moved(nearest(w)) + b * moved(union))
    return result


def decided(shots, query, *, scale_free=False):
    """Return the way whose anchor is nearest: shots weighted by the softmax of their products with the query."""
    cosines = []
    for way in shots:
        asked = l2(query) if scale_free else query
        anchor = pull([float(asked @ s) for s in way], range(len(way)), way)
        cosines.append(float(l2(query) @ l2(anchor)))
    return int(np.argmax(cosines))


def nearest_neighbour(support, query):
    """Return the way whose mean of shots of length 1 has the largest cosine with the query."""
    return int(np.argmax([float(l2(query) @ l2(sum(l2(x) for x in way))) for way in support]))


def moments(shot, means, covariances, near, spread):
    """Return mean and covariance that base classes lend a shot (Yang, Liu, Xu, ICLR 2021)."""
    order = sorted(range(len(means)), key=lambda c: (float(np.sum((shot - means[c]) ** 2)), c))[:near]
    return (sum(means[c] for c in order) + shot) / (near + 1), sum(covariances[c] for c in order) / near + spread
