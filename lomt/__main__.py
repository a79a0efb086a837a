"""``lomt``, and ``python -m lomt``: the command line as a process of its own."""

import signal
import sys


def main() -> int:
    """Run it; a Ctrl-C before it hears any, or when all is done, ends the process at once and without a traceback."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from lomt.cli import main as command

    status = command()
    # Where one has passed an exec, as in a decorator that writes code, "python -m" ends by a SIGINT, not by the status.
    exec("")  # noqa: S102
    return status


if __name__ == "__main__":
    sys.exit(main())
