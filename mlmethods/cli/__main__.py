"""``python -m mlmethods.cli`` is the script ``mlmethods``."""

from mlmethods.cli.main import run

run()
