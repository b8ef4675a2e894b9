"""``python -m biolm`` is the same as ``biolm``."""

from biolm.cli.main import run

if __name__ == "__main__":
    run()
