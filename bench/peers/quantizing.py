"""What the peers' scripts share: their command line, threads, timing, and the one JSON line that they print last."""
import argparse
import json
import os
import time
import warnings


def parse_arguments():
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", required=True)
    parser.add_argument("--out", required=True)
    parser.add_argument("--sequences", required=True, help="JSON: a list of calibration sequences of token ids")
    parser.add_argument("--bits", type=int, required=True)
    parser.add_argument("--group-size", type=int, required=True)
    parser.add_argument("--asymmetric", action="store_true")
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--iterations", type=int, default=200)
    arguments = parser.parse_args()
    # Before torch is imported.
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "GPTQMODEL_CPU_WORKERS"):
        os.environ[name] = str(arguments.threads)
    warnings.filterwarnings("ignore")
    import torch

    torch.set_num_threads(arguments.threads)
    return arguments


def read_sequences(path):
    with open(path, encoding="utf-8") as file:
        return json.load(file)


class Timing:
    """Seconds of the parts of a run."""

    def __init__(self):
        self.parts = {}
        self.before = time.monotonic()

    def note(self, part):
        now = time.monotonic()
        self.parts[part] = round(now - self.before, 3)
        self.before = now


def report(timing, settings):
    print("\n" + json.dumps({"seconds": timing.parts, "settings": settings}), flush=True)
