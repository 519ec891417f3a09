"""`jupyter rlm doctor`: one line for each thing that a question needs, 0 if nothing is missing."""

from __future__ import annotations

from rlm_kernel import doctor
from rlm_kernel.cli.command import FAILED, OK, Command
from rlm_kernel.settings import RLM


class Doctor(Command):
    command = "doctor"
    description = "Say what is missing before a question can be asked, each with the command that mends it."

    def work(self) -> int:
        findings = doctor.check(RLM.load(parent=self))
        for finding in findings:
            print(finding)
        return OK if all(finding.ok for finding in findings) else FAILED
