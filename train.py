"""Train a crosscoder on a pair of language models. Settings: conf/train.yaml."""

from crosscoder.cli.start import train

if __name__ == "__main__":
    train()
