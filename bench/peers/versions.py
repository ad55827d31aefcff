"""Prints the versions of the packages named on the command line as one JSON object; null: not installed."""
import importlib.metadata
import json
import sys


def version_of(name):
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


print(json.dumps({name: version_of(name) for name in sys.argv[1:]}))
