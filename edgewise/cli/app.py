"""The commands together, and how each of them ends: an error is what and mend, and an exit code that means something.

No command is imported with more than it takes to describe it: `edgewise --help` must not wait for torch or a database.
"""

import os
from inspect import cleandoc
from typing import Any

import typer
from typer.core import TyperGroup

from edgewise.cli import exchange, files, freeal, labels, language, project, serving, simulate
from edgewise.cli.shell import AS_JSON, AWAY, FAILED, INTERRUPTED, WRONG, exit_code, say, show
from edgewise.errors import EdgewiseError, InputError

ENDING = (
    f"Exit codes: 0 done; {FAILED} the work failed; {WRONG} wrong usage or input; {AWAY} something that we need is "
    f"away: Label Studio, the language model, the hub; {INTERRUPTED} interrupted. "
    "Settings come from the environment; README.md lists them."
)
SECRETS = ("--api-key", "--llm-api-key", "--label-studio-api-key", "--token", "--password")


class Commands(TyperGroup):
    """The group of all commands: refuses secrets among the arguments, and ends a failed command in words."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """The arguments, if no secret is among them."""
        given = next((word.split("=")[0] for word in args if word.split("=")[0] in SECRETS), None)
        if given is not None:
            say(
                f"{given} is not taken: everybody on this machine sees the arguments of a command, and the shell keeps "
                "them in its history.\nSet LLM_API_KEY or LABEL_STUDIO_API_KEY in the environment."
            )
            raise typer.Exit(WRONG)
        return super().parse_args(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        """Run the command that was named."""
        try:
            return super().invoke(ctx)
        except EdgewiseError as error:
            raise self._ended(ctx, error) from None
        except OSError as error:
            if error.filename is None:
                raise
            what = f"{error.filename}: {error.strerror}."
            raise self._ended(ctx, InputError(what, "See that it is there and may be used.")) from None
        except KeyboardInterrupt:
            say("Interrupted. What was finished is kept; nothing is half-written.")
            raise typer.Exit(INTERRUPTED) from None

    def _ended(self, ctx: Any, error: EdgewiseError) -> typer.Exit:
        if ctx.meta.get(AS_JSON):
            show({"error": {"what": error.what, "mend": error.mend}}, "", as_json=True)
        say(f"{error.what}\n{error.mend}".strip())
        return typer.Exit(exit_code(error))


def told_in_paragraphs(part: typer.Typer) -> None:
    """Join the lines of each paragraph of the commands' docstrings, so that help wraps them at the terminal's width."""
    for command in part.registered_commands:
        paragraphs = cleandoc(command.callback.__doc__ or "").split("\n\n") if command.callback else []
        command.help = "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)
    for group in part.registered_groups:
        if group.typer_instance is not None:
            told_in_paragraphs(group.typer_instance)


app = typer.Typer(
    cls=Commands,
    help="Edgewise: the hardest task first, in Label Studio; and the same models on files, without it.",
    epilog=ENDING,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
for part in (files.app, freeal.app, simulate.app, exchange.app, project.app, labels.app, language.app, serving.app):
    told_in_paragraphs(part)
    app.add_typer(part)


def main() -> None:
    """What `edgewise` and `python -m edgewise` run."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # torch's threads spin otherwise (docs/decisions.md)
    app(prog_name="edgewise")
