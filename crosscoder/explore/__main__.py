"""Open a run's models in the browser: `python -m crosscoder.explore RUN [--open]`."""

import argparse
import importlib.util
import socket
import webbrowser
from pathlib import Path

from crosscoder.errors import UserError, exit_on_error
from crosscoder.installation import name_command, name_install
from crosscoder.terminal.console import TextConsole

HOST = "127.0.0.1"
PORT = 8137
LIBRARIES = ("starlette", "uvicorn")  # of the extra `explore`
DESCRIPTION = (
    "Opens a page in which you type prompts, see what both models and the latents make of them, "
    "edit latents, and read the answers side by side. The page is served on this machine alone, at "
    "an address with a random token that is printed at the start. Ctrl-C ends it."
)


@exit_on_error()
def main() -> None:
    """Serve the page of a run until the program is stopped."""
    arguments = build_parser().parse_args()
    require_libraries()
    if not Path(arguments.run).is_dir():
        raise UserError(f"no run at {arguments.run}: give the folder of a finished run")
    listener = bind(arguments.port)
    # imported here, since it takes seconds that --help and a mistyped name need not wait for
    from crosscoder.explore.server import serve
    from crosscoder.explore.session import open_session

    session = open_session(arguments.run, arguments.device, arguments.trust_models)

    def announce(address: str) -> None:
        TextConsole().print(f"{address}\nCtrl-C ends it", highlight=False, soft_wrap=True)
        if arguments.open:
            webbrowser.open(address)

    serve(session, listener, announce)


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(prog=name_command("explore"), description=DESCRIPTION)
    parser.add_argument("run", metavar="RUN", help="folder of a finished run")
    parser.add_argument("--open", action="store_true", help="open the page in the browser")
    port_help = f"port on this machine (default: {PORT}); 0 chooses a free one"
    parser.add_argument("--port", type=int, default=PORT, help=port_help)
    device_help = "auto, cpu, cuda:0, … (default: auto)"
    parser.add_argument("--device", default="auto", help=device_help)
    trust_help = "load the models that the run names even if they are new on this machine"
    parser.add_argument("--trust-models", action="store_true", help=trust_help)
    return parser


def require_libraries() -> None:
    """Refuse to start without the libraries of the extra.

    Raises:
        UserError: One of them is not installed.
    """
    missing = [name for name in LIBRARIES if importlib.util.find_spec(name) is None]
    if missing:
        raise UserError(
            f"this command needs {' and '.join(missing)}: {name_install('explore')} installs "
            "what it needs"
        )


def bind(port: int) -> socket.socket:
    """Return a socket that listens on this machine alone.

    Raises:
        UserError: The port is in use, or is no port.
    """
    if not 0 <= port < 2**16:
        raise UserError(f"--port is a number from 0 to {2**16 - 1}, not {port}")
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((HOST, port))
        # a port in use is refused now, before anything is loaded
        listener.listen()
    except OSError as error:
        listener.close()
        raise UserError(
            f"cannot use port {port}: {error.strerror}; --port chooses another, 0 any free one"
        ) from error
    return listener


if __name__ == "__main__":
    main()
