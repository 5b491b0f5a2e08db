"""What holds for the whole run of the tests."""

import signal

# A run that was started in the background (`make test &`) inherits that Ctrl+C is ignored, and hands it on to
# the processes that the tests start and interrupt. Those are to feel Ctrl+C as on a terminal.
signal.signal(signal.SIGINT, signal.default_int_handler)
