"""``python -m instructforge``: the command line."""

from instructforge.cli import main

main(prog_name="instructforge")
