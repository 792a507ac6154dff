"""The part of npm's version ranges that `engines.node` uses.

Known: x-ranges (`20`, `20.x`, `*`), `^`, `~`, `>=`, `>`, `<=`, `<`, `=`, exact versions, hyphen
ranges, blanks for "and", `||` for "or". Not known: pre-releases, tags like `lts/*`.
Each comparator becomes a half-open interval [from, to) of (major, minor, patch).
"""

import re

END = (10**9, 0, 0)
START = (0, 0, 0)
PARTIAL = r"v?(\d+|[xX*])(?:\.(\d+|[xX*]))?(?:\.(\d+|[xX*]))?"
COMPARATOR = re.compile(rf"(\^|~>?|>=|<=|>|<|=)?\s*{PARTIAL}(?=\s|$)")
HYPHEN = re.compile(rf"({PARTIAL})\s+-\s+({PARTIAL})$")


class Unreadable(Exception):
    """The text is no range that this module knows."""


def parse_version(text):
    return tuple(int(number) for number in text.split("."))


def matches(version, text):
    """Whether the version, a triple, lies in the range."""
    return any(lies_in(version, part) for part in text.split("||"))


def lies_in(version, part):
    return all(low <= version < high for low, high in intervals(part.strip()))


def intervals(part):
    if part in ("", "latest"):
        return [(START, END)]
    hyphen = HYPHEN.match(part)
    if hyphen:
        return [(span(*hyphen.groups()[1:4])[0], span(*hyphen.groups()[5:8])[1])]
    found, at = [], 0
    while at < len(part):
        comparator = COMPARATOR.match(part, at)
        if not comparator:
            raise Unreadable(part)
        found.append(interval(*comparator.groups()))
        at = comparator.end() + len(part[comparator.end():]) - len(part[comparator.end():].lstrip())
    return found


def interval(operator, *numbers):
    low, high = span(*numbers)
    match operator:
        case ">=":
            return low, END
        case ">":
            return high, END
        case "<=":
            return START, high
        case "<":
            return START, low
        case "^":
            return low, after_caret(*numbers)
        case "~" | "~>":
            return low, span(numbers[0], numbers[1], None)[1]
    return low, high


def span(*numbers):
    """The versions that a partial version stands for: 20.1 is [20.1.0, 20.2.0)."""
    known = []
    for number in numbers:
        if number is None or number in "xX*":
            break
        known.append(int(number))
    if not known:
        return START, END
    low = tuple(known + [0] * (3 - len(known)))
    high = tuple(known[:-1] + [known[-1] + 1] + [0] * (3 - len(known)))
    return low, high


def after_caret(*numbers):
    """^ keeps the first number that is not zero, or the last that is given."""
    known = []
    for number in numbers:
        if number is None or number in "xX*":
            break
        known.append(number)
        if int(number) > 0:
            break
    return span(*(known + [None] * (3 - len(known))))[1]
