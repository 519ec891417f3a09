"""`%%rlm` asks; `%rlm` tells what became of it."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

from IPython.core.magic import Magics, cell_magic, line_magic, magics_class, no_var_expand
from IPython.core.magic_arguments import argument, argument_group, magic_arguments, parse_argstring

from rlm_kernel import prompts, question, telling
from rlm_kernel.asking import ask
from rlm_kernel.environment.republish import show
from rlm_kernel.environment.secrets import Redactor
from rlm_kernel.errors import UsageError
from rlm_kernel.limits import Limits
from rlm_kernel.person import step_into
from rlm_kernel.rerun import commands, onward
from rlm_kernel.runner import brief
from rlm_kernel.schema import Schema
from rlm_kernel.settings import OF_A_QUESTION, flags
from rlm_kernel.workspace import Workspace

RERUNNING = {"replay": commands.replay, "fork": commands.fork}
"""These ask and run cells, and are awaited, see `extension.await_rlm`."""


def _settings(magic: Any) -> Any:
    """The options of the settings that one question can have of its own."""
    for name, what in reversed(OF_A_QUESTION.items()):  # as decorators are: the last one comes first
        magic = argument(*flags(name), help=what)(magic)
    return argument_group("settings", "for this question; %config RLM sets them for all")(magic)


@magics_class
class RLMMagics(Magics):
    @magic_arguments()
    @argument("-c", "--context", action="append", help="an expression, or the path of a file or folder, for `context`")
    @argument("-o", "--output", metavar="VAR", help="the variable that gets the answer")
    @argument("--schema", metavar="EXPR", help="the form of the answer: list[str], a pydantic model, a JSON Schema")
    @argument("--continue", dest="run", nargs="?", const="", metavar="RUN", help="go on with a run that broke off")
    @argument(
        "--rerun",
        choices=("ask", "yes", "no"),
        default="ask",
        help="whether marked cells run, when a run does again",
    )
    @argument("--replay", metavar="TRACE", help="take the replies from this trace, and ask no model")
    @argument("--dry-run", action="store_true", help="show the first request and send nothing")
    @argument("-q", "--quiet", action="store_true", help="show the answer and nothing else")
    @_settings
    @no_var_expand
    @cell_magic
    async def rlm(self, line: str, cell: str) -> object:
        """
        Ask a question about `context` and the variables of this notebook; the value of the cell is the answer.

        `{name}` in the question is filled in where the variable is small, and stands for the variable otherwise.
        """
        workspace = Workspace.of(self.shell)
        options = _options(self.rlm, line)
        with workspace.running():
            return await self._ask(workspace, options, cell.strip())

    async def _ask(self, workspace: Workspace, options: Namespace, text: str) -> object:
        namespace: dict[str, Any] = workspace.shell.user_ns
        if options.run is not None:
            return await self._continue(workspace, options, text)
        asked = question.fill(text, namespace)
        if not asked:
            raise UsageError("the question is empty: write it below the line with %%rlm")
        if options.output is not None and not options.output.isidentifier():
            raise UsageError(f"-o {options.output}: give the name of a variable")
        settings = workspace.settings.replaced(**_given(options))
        if options.context:
            namespace["context"] = question.context_of(options.context, namespace)
        schema = None if options.schema is None else question.schema_of(options.schema, namespace)
        if options.dry_run:
            _dry_run(asked, namespace, settings.limits(), schema)
            return None
        recorded = None
        if options.replay is not None:
            if given := _given(options):
                raise UsageError(f"--replay asks no model: leave out {flags(next(iter(given)))[-1]}")
            form = None if schema is None else Redactor().text(schema.told)
            recorded = commands.answered_from(workspace, options.replay, asked, form, options.rerun == "yes")
            settings = settings.replaced(models=[], **recorded.limits(settings.traits(config=True)))
        return await ask(
            workspace, asked, settings, schema=schema, quiet=options.quiet, output=options.output, recorded=recorded
        )

    async def _continue(self, workspace: Workspace, options: Namespace, text: str) -> object:
        namespace = workspace.shell.user_ns
        if text:
            raise UsageError("--continue goes on with the question of that run: leave the cell below the line empty")
        if options.context:
            namespace["context"] = question.context_of(options.context, namespace)
        return await onward.resume(
            workspace,
            options.run,
            _given(options),
            schema=None if options.schema is None else question.schema_of(options.schema, namespace),
            output=options.output,
            quiet=options.quiet,
            rerun=options.rerun,
            named=["context"] if options.context else [],
        )

    @no_var_expand
    @cell_magic
    async def agent(self, line: str, cell: str) -> object:
        """`%%agent 0.2` runs the cell in the namespace that this sub-agent of the last run has left."""
        workspace = Workspace.of(self.shell)
        if workspace.last is None:
            raise UsageError("no run yet: ask in a cell that begins with %%rlm")
        if workspace.replay is not None:
            came = workspace.replay.places.below(line.strip(), cell)
            if came is not None:
                show(workspace.shell, came)
                return None
        found = workspace.last.agents.get(line.strip())
        if found is None:
            known = ", ".join(list(workspace.last.agents)[:20])
            raise UsageError(f"%%agent {line.strip()}: the last run has the agents {known}; see %rlm agents")
        return await step_into(workspace, found, cell)

    @line_magic("rlm")  # type: ignore[arg-type]
    @no_var_expand
    def tell(self, line: str) -> Any:
        """
        %rlm [status|agents|usage|trace [FILE]|prompt [[AGENT] STEP]|runs|doctor|replay|fork]
        %rlm graph|savings|cache [--json]
        """
        workspace = Workspace.of(self.shell)
        name, *arguments = line.split() or ["status"]
        rest = line.strip().removeprefix(name).strip()
        if name in RERUNNING:
            return RERUNNING[name](workspace, rest)
        if name not in telling.COMMANDS:
            known = ", ".join([*telling.COMMANDS, *RERUNNING])
            raise UsageError(f"%rlm {name}: there is %rlm {known}")
        if arguments == ["--json"] and name in telling.AS_DATA:
            telling.as_data(workspace, name)
            return None
        if arguments and name not in telling.TAKE_WORDS:
            raise UsageError(f"%rlm {name} takes {'--json or nothing' if name in telling.AS_DATA else 'no argument'}")
        if name in telling.TAKE_A_FILE:
            arguments = [_unquoted(rest)]  # with spaces in its name, as %cd takes one
        telling.COMMANDS[name](workspace, *arguments)
        return None


def _options(magic: Any, line: str) -> Namespace:
    """IPython leaves the quotes around a word; here they only hold it together."""
    options: Namespace = parse_argstring(magic, line)
    for name, value in vars(options).items():
        if isinstance(value, str):
            setattr(options, name, _unquoted(value))
        elif isinstance(value, list):
            setattr(options, name, [_unquoted(word) for word in value])
    return options


def _unquoted(word: str) -> str:
    quoted = len(word) >= 2 and word[0] in "\"'" and word[-1] == word[0] and word[0] not in word[1:-1]
    return word[1:-1] if quoted else word


def _given(options: Namespace) -> dict[str, object]:
    return {name: value for name in OF_A_QUESTION if (value := getattr(options, name)) is not None}


def _dry_run(asked: str, namespace: dict[str, Any], limits: Limits, schema: Schema | None) -> None:
    briefing = brief(asked, namespace, limits, Redactor(), schema)
    print(f"----- system\n{prompts.SYSTEM}\n\n----- user\n{prompts.first_message(briefing)}")
