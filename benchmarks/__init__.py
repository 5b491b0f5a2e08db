"""What the performance claims rest on: ratios measured in one run, never a timed test."""
