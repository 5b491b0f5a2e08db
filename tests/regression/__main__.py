"""Record symbol-error counts anew: ``python -m tests.regression``; prints old -> new with p-values."""

import json

from tests.regression import FALSE_ALARM, METRICS, POINTS, RECORD, changes, load, measure, record, recorded_counts


def main() -> None:
    """Measure, print what changed, write the file."""
    written, measured = load(), {point: measure(point) for point in POINTS}
    print(f"{'point':14} {'detector':20} {'metric':12} {'old rate':>10}    {'new rate':>10}  p-value")  # noqa: T201
    for point, now in measured.items():
        before = recorded_counts(written, point)
        p_values = changes(before, now)
        for name in now:
            for metric in METRICS:
                old = f"{before[name][metric].rate:10.3e}" if name in before else f"{'--':>10}"
                p = p_values.get((name, metric))
                said = "" if p is None else f"{p:8.1e}{'  CHANGED' if p <= FALSE_ALARM else ''}"
                print(f"{point:14} {name:20} {metric:12} {old} -> {now[name][metric].rate:10.3e}  {said}")  # noqa: T201
    RECORD.write_text(json.dumps(record(measured), indent=1) + "\n")
    print(f"written: {RECORD}")  # noqa: T201


if __name__ == "__main__":
    main()
