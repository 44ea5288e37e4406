"""`rookery completion SHELL`: the script with which a shell completes Rookery's commands by the TAB key.

The scripts are click's: at each TAB they run the command with what is typed so far, in the variable
_ROOKERY_COMPLETE or, for a service, _ROOKERY_BROKER_COMPLETE and its like.
"""

import click
from click.shell_completion import ShellComplete, get_completion_class

from common.command_groups import SERVICES

SHELLS = ("bash", "zsh", "fish")
PROGRAMS = ("rookery", *SERVICES)


@click.command("completion", context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("shell", metavar="bash|zsh|fish", type=click.Choice(SHELLS))
def completion(shell: str) -> None:
    """Print the script with which the shell bash|zsh|fish completes commands, options, values and files.

    It is for `rookery` and the services' commands alike. To have it in every new shell, type once:

    \b
    bash:  rookery completion bash > ~/.rookery-completion.bash
           echo '. ~/.rookery-completion.bash' >> ~/.bashrc
    zsh:   rookery completion zsh > ~/.rookery-completion.zsh
           echo '. ~/.rookery-completion.zsh' >> ~/.zshrc      (after the line with compinit)
    fish:  rookery completion fish > ~/.config/fish/conf.d/rookery.fish

    \b
    Example:  rookery completion bash > ~/.rookery-completion.bash
    """
    for program in PROGRAMS:
        click.echo(script(shell, program))


def script(shell: str, program: str) -> str:
    """Return the text that `shell` reads to complete the command `program`."""
    kind = get_completion_class(shell)
    assert kind is not None
    # Not the class's own source(): it would run the shell to ask for its version.
    return ShellComplete.source(kind(click.Command(program), {}, program, variable(program)))


def variable(program: str) -> str:
    """Return the variable by which click tells `program` to complete."""
    return f"_{program.replace('-', '_').upper()}_COMPLETE"
