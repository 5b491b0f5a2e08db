"""Losses of pixels, slow and obvious: a loop over pixels, in float64. 255 is a pixel that nobody has labelled."""

from math import exp, log

import numpy as np


def pixels_of(logits, labels):
    """Yield logits and label of each labelled pixel."""
    for row, label in zip(logits.reshape(-1, logits.shape[-1]).astype(float), labels.reshape(-1), strict=True):
        if label != 255:
            yield row, int(label)


def softmax(row):
    """Return probabilities."""
    parts = [exp(x - max(row)) for x in row]
    return [p / sum(parts) for p in parts]


def cross_entropy(logits, labels):
    """Mean of minus the log probability of what is there."""
    nats = [-log(softmax(row)[k]) for row, k in pixels_of(logits, labels)]
    return sum(nats) / len(nats)


def weighted(logits, labels, pixels, power):
    """Weights (median / count) ** power, the mean divided by their sum."""
    median = float(np.median([n for n in pixels if n > 0]))
    total = weights = 0.0
    for row, k in pixels_of(logits, labels):
        weight = (median / pixels[k]) ** power
        total, weights = total - weight * log(softmax(row)[k]), weights + weight
    return total / weights


def focal(logits, labels, gamma):
    """Mean of (1 - p)^gamma times cross entropy."""
    found = [-((1 - softmax(row)[k]) ** gamma) * log(softmax(row)[k]) for row, k in pixels_of(logits, labels)]
    return sum(found) / len(found)


def logit_adjusted(logits, labels, pixels, tau):
    """Cross entropy of logits with tau log(share) added."""
    shares = np.array(pixels) / sum(pixels)
    return cross_entropy(logits + tau * np.log(shares + 1e-12), labels)


def dice(logits, labels, smooth):
    """Mean over classes that are there of one minus the overlap."""
    seen = [(softmax(row), k) for row, k in pixels_of(logits, labels)]
    found = []
    for c in range(logits.shape[-1]):
        there = sum(k == c for _, k in seen)
        if there:
            both = sum(p[c] for p, k in seen if k == c)
            found.append(1 - (2 * both + smooth) / (sum(p[c] for p, _ in seen) + there + smooth))
    return sum(found) / len(found)


def lovasz(logits, labels):
    """Mean over classes that are there of the extension: errors in falling order times steps of the Jaccard loss."""
    seen = [(softmax(row), k) for row, k in pixels_of(logits, labels)]
    found = []
    for c in range(logits.shape[-1]):
        if not any(k == c for _, k in seen):
            continue
        errors = sorted(((abs((k == c) - p[c]), k == c) for p, k in seen), reverse=True)
        whole, total, before = sum(right for _, right in errors), 0.0, 0.0
        for place in range(len(errors)):
            wrong = errors[: place + 1]  # these pixels are taken as wrong: c where it is not, and not c where it is
            missed, extra = sum(r for _, r in wrong), sum(not r for _, r in wrong)
            jaccard = 1 - (whole - missed) / (whole + extra)
            total, before = total + errors[place][0] * (jaccard - before), jaccard
        found.append(total)
    return sum(found) / len(found)


def centers(features, labels, num_classes):
    """Return mean feature and count of each class, pixel after pixel."""
    sums, counts = np.zeros((num_classes, features.shape[-1])), np.zeros(num_classes)
    for feature, k in pixels_of(features, labels):
        sums[k] += feature
        counts[k] += 1
    return sums / np.maximum(counts, 1)[:, None], counts


def bilinear(features, rows, columns):
    """Return features enlarged, one (n, h, w, d) to (n, rows, columns, d), between pixel centres, edges held."""
    n, h, w, d = features.shape
    found = np.zeros((n, rows, columns, d))
    for i in range(rows):
        for j in range(columns):
            y = min(max((i + 0.5) * h / rows - 0.5, 0), h - 1)
            x = min(max((j + 0.5) * w / columns - 0.5, 0), w - 1)
            a, b = int(y), int(x)
            c, e = min(a + 1, h - 1), min(b + 1, w - 1)
            top = features[:, a, b] * (1 - x + b) + features[:, a, e] * (x - b)
            low = features[:, c, b] * (1 - x + b) + features[:, c, e] * (x - b)
            found[:, i, j] = top * (1 - y + a) + low * (y - a)
    return found
