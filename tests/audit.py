"""What a report of pip-audit means: vulnerable, fine, or not asked, which is never the same as fine."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

NOT_ASKED = "!!! DEPENDENCIES WERE NOT AUDITED: "


def judge(report: object) -> tuple[int, str]:
    """The exit code and what to say, for the parsed report; anything but a report was never asked."""
    dependencies = report.get("dependencies") if isinstance(report, Mapping) else None
    if not isinstance(dependencies, list) or not dependencies:
        return 0, f"{NOT_ASKED}there is no report. !!!"
    skipped = [one["name"] for one in dependencies if "skip_reason" in one]
    vulnerable = [line for one in dependencies for line in _findings(one)]
    asked = len(dependencies) - len(skipped)
    words = [f"audit: {asked} of {len(dependencies)} dependencies asked about, {len(vulnerable)} vulnerabilities known"]
    if not asked:
        words = [f"{NOT_ASKED}no database could be asked about any of the {len(dependencies)}. !!!"]
    elif skipped:
        words.append(f"{NOT_ASKED}{', '.join(skipped)}. !!!")
    return int(bool(vulnerable)), "\n".join([*words, *vulnerable])


def _findings(dependency: Mapping[str, object]) -> Sequence[str]:
    known = dependency.get("vulns")
    found = known if isinstance(known, list) else []
    return [f"VULNERABLE: {dependency['name']} {dependency.get('version')}: {one['id']}" for one in found]


def main() -> int:
    """Judge the report in the file that is named."""
    try:
        report = json.loads(Path(sys.argv[1]).read_text("utf-8"))
    except ValueError:
        report = None
    code, words = judge(report)
    sys.stdout.write(f"{words}\n")
    return code


if __name__ == "__main__":
    sys.exit(main())
