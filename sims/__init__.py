"""One question per file: a Config, a main, a table and figures."""
