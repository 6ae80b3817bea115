"""Evaluate saved crosscoders. Settings: conf/evaluate.yaml."""

from crosscoder.cli.start import evaluate

if __name__ == "__main__":
    evaluate()
