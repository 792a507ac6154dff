# shellcheck shell=bash
# How a buildpack speaks to the pusher (docs/heroku.md, "Output of a push"): arrows, seven blanks,
# exclamation marks.
# nodejs/lib has the same file: each buildpack is a folder that stands alone.

step() { printf -- '-----> %s\n' "$*"; }
detail() { printf '       %s\n' "$@"; }
warn() { printf ' !     %s\n' "$@"; }

fail() {
    warn "$@"
    exit 1
}

# Moves what a tool prints to the column of details, line by line as it comes.
indent() { sed -u 's/^/       /'; }
