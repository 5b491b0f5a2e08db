"""What holds for the whole run of the tests."""

import signal

from hypothesis import settings

# A run that was started in the background (`make test &`) inherits that Ctrl+C is ignored, and hands it on to
# the processes that the tests start and interrupt. Those are to feel Ctrl+C as on a terminal.
signal.signal(signal.SIGINT, signal.default_int_handler)

# `make test` says the same of the same code each time: properties are tried on examples that depend on the test
# alone, and no example fails for being slow on a busy machine. `make hunt` tries new examples at every call.
settings.register_profile("steady", derandomize=True, deadline=None)
settings.register_profile("hunt", derandomize=False, deadline=None, print_blob=True)
settings.load_profile("steady")
