"""The vision wing: methods that learn to see, and what they cost to move and to compute."""
