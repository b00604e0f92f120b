"""Cases of a client: functions whose names are what must hold. What follows this in the same program defines them."""

import json
import sys
import traceback

told = json.load(sys.stdin)
CASES = []


def case(function):
    """Notes a function as a case."""
    CASES.append(function)
    return function


def run():
    """Runs all of them, in order, and says how each ended: null, or what went wrong."""
    ended = {}
    for function in CASES:
        try:
            function()
            ended[function.__name__] = None
        except Exception:
            ended[function.__name__] = traceback.format_exc()
    json.dump(ended, sys.stdout)


def raised(kind, function):
    """The exception that must come."""
    try:
        function()
    except kind as error:
        return error
    raise AssertionError(f"no {kind.__name__}")


