"""`jupyter rlm install`: a kernelspec that names this environment's interpreter, where a Jupyter elsewhere finds it."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from pathlib import Path

from jupyter_client.kernelspec import KernelSpecManager

from rlm_kernel.cli.command import OK, Command
from rlm_kernel.errors import UsageError


class Install(Command):
    command = "install"
    description = "Make the kernel known to Jupyter, with the interpreter of this environment written into it."

    def add_options(self, parser: argparse.ArgumentParser) -> None:
        where = parser.add_mutually_exclusive_group()
        where.add_argument("--user", action="store_true", help="for this user, in every environment (the default)")
        where.add_argument("--sys-prefix", action="store_true", help="for this environment alone")
        where.add_argument("--prefix", type=Path, metavar="PATH", help="below PATH/share/jupyter/kernels")
        parser.add_argument("--name", default="rlm", help="the kernel's name, which `-k` and notebooks use (rlm)")

    def work(self) -> int:
        prefix = Path(sys.prefix) if self.options.sys_prefix else self.options.prefix
        where = install(self.options.name, prefix=prefix)
        print(f"installed kernel {self.options.name} in {where}")
        return OK


def install(name: str, *, prefix: Path | None) -> Path:
    """Where it went: below `prefix`, or in the user's folder. UsageError where it cannot go there."""
    with tempfile.TemporaryDirectory() as scratch:
        # A copy, because the source may be the very folder that is replaced.
        staged = Path(scratch, "kernelspec")
        shutil.copytree(kernelspec_folder(), staged)
        file = staged / "kernel.json"
        spec = json.loads(file.read_text(encoding="utf-8"))
        spec["argv"][0] = sys.executable
        file.write_text(json.dumps(spec, indent=1) + "\n", encoding="utf-8")
        try:
            where = KernelSpecManager().install_kernel_spec(
                str(staged), name, user=prefix is None, prefix=None if prefix is None else str(prefix.absolute())
            )
        except ValueError as error:
            raise UsageError(str(error)) from None
        except OSError as error:
            raise UsageError(f"cannot write {error.filename}: {error.strerror}; try --user or --prefix") from None
    return Path(where)


def kernelspec_folder() -> Path:
    """The kernelspec as shipped: inside the package where that was built, beside it in a checkout."""
    package = Path(__file__).parents[1]
    built = package / "kernelspec"
    return built if built.is_dir() else package.parent / "kernelspec"
