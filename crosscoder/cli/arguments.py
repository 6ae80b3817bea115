"""Arguments of the command line as older versions wrote them."""

import sys

from crosscoder.renamed import rename_override


def rename_arguments() -> None:
    """Replace old names of settings in the arguments of this process, with a warning each."""
    arguments = []
    for argument in sys.argv[1:]:
        is_option = argument.startswith("-")
        arguments.append(argument if is_option else rename_override(argument))
    sys.argv[1:] = arguments
