"""Reads the counts of lines that .ci/coverage has made, and judges them.

    python3 .ci/coverage.py LEAST REASONS LINES..

Lines are given in the form of lcov; a line is run when one of the files says so. Prints the lines
that are not run, with what REASONS says of their function (`FILE | FUNCTION | why`), and a table of
all files. Fails when less than LEAST percent of all lines are run.
"""

import re
import sys
from collections import defaultdict
from pathlib import Path

FUNCTION = re.compile(r"^( *)(?:pub(?:\([^)]*\))? )?(?:const |async |unsafe )*fn (\w+)")
OF_TYPE = re.compile(r"^( *)(?:unsafe )?(?:impl|trait|pub trait|pub\(crate\) trait)\b(.*)\{")


def counts(paths):
    """{file: {line: how often it was run}}"""
    found = defaultdict(lambda: defaultdict(int))
    for path in paths:
        for line in Path(path).read_text().splitlines():
            if line.startswith("SF:"):
                file = line[3:]
            elif line.startswith("DA:"):
                number, count = line[3:].split(",")[:2]
                found[file][int(number)] = max(found[file][int(number)], int(count))
    return found


def test_lines(source):
    """The numbers of the lines in test modules: from `#[cfg(test)]` to the end of the module."""
    inside = set()
    end = None
    for number, line in enumerate(source, 1):
        if end is None and line == "#[cfg(test)]":
            end = "}"
        if end is not None:
            inside.add(number)
            if line == end or (line.endswith(";") and not line.startswith(" ")):
                end = None
    return inside


def function_at(source, number):
    """`Type::function` for the innermost function around a line."""
    indent = len(source[number - 1]) - len(source[number - 1].lstrip())
    name = None
    for line in reversed(source[:number]):
        if name is None:
            match = FUNCTION.match(line)
            if match and len(match[1]) <= indent:
                name, indent = match[2], len(match[1])
        else:
            match = OF_TYPE.match(line)
            if match and len(match[1]) < indent:
                return f"{type_of(match[2])}::{name}"
            if FUNCTION.match(line) and len(FUNCTION.match(line)[1]) < indent:
                break
    return name or "(outside of functions)"


def type_of(header):
    header = re.sub(r"<[^<>]*>", "", re.sub(r"<[^<>]*>", "", header))
    header = header.split(" where ")[0].split(" for ")[-1].strip()
    return re.sub(r":.*", "", header).split("::")[-1].strip()


def reasons_in(path):
    reasons = {}
    for line in Path(path).read_text().splitlines():
        if line.strip() and not line.startswith("#"):
            file, function, why = (part.strip() for part in line.split("|", 2))
            reasons[file, function] = why
    return reasons


def main(least, reasons_path, paths):
    here = Path.cwd()
    reasons = reasons_in(reasons_path)
    table, missed = [], defaultdict(list)
    for file, found in sorted(counts(paths).items()):
        path = Path(file).relative_to(here)
        if path.name == "tests.rs":
            continue
        source = path.read_text().splitlines()
        skipped = test_lines(source)
        found = {number: count for number, count in found.items() if number not in skipped}
        not_run = sorted(number for number, count in found.items() if count == 0)
        table.append((str(path), len(found), len(not_run)))
        for number in not_run:
            function = function_at(source, number)
            missed[str(path.relative_to("runtime/src")), function].append((number, source[number - 1]))

    print("\nLines that no test runs")
    for (file, function), rows in missed.items():
        print(f"\n  {file} | {function} | {reasons.get((file, function), 'no reason is given')}")
        for number, text in rows:
            print(f"  {number:5} {text}")

    print(f"\n{'file':44} {'lines':>6} {'not run':>8} {'run':>8}")
    table.append(("all", sum(row[1] for row in table), sum(row[2] for row in table)))
    for path, of, not_run in table:
        print(f"{path:44} {of:6} {not_run:8} {100 * (of - not_run) / max(of, 1):7.2f} %")
    for file, function in reasons:
        if (file, function) not in missed:
            print(f"{reasons_path}: all lines of {file} | {function} are run by now")

    share = 100 * (table[-1][1] - table[-1][2]) / table[-1][1]
    if share < least:
        print(f"{share:.2f} % of the lines are run, fewer than {least} %")
        return 1
    return 0


if __name__ == "__main__":
    if len(sys.argv) < 4:
        sys.exit(__doc__)
    sys.exit(main(float(sys.argv[1]), sys.argv[2], sys.argv[3:]))
