# Words that the scripts of the day share. They run as root inside the machine, each in its turn.
set -euo pipefail
export PAGER=cat SYSTEMD_PAGER=
tree=/mnt/tree
slice=/sys/fs/cgroup/system.slice

fail() {
    printf '  !! %s\n' "$*"
    journalctl -u paas --no-pager -o cat | tail -n 40
    exit 1
}
# shows COMMAND...: the command as a person types it, and what it says.
shows() {
    printf '$ %s\n' "$*"
    "$@" 2>&1 | sed 's/^/  /'
}
# until_true SECONDS COMMAND...: asks until it is so. Each question takes its time in here.
until_true() {
    local end=$((SECONDS + $1))
    shift
    until "$@" > /dev/null 2>&1; do
        ((SECONDS < end)) || fail "never came true: $*"
    done
}
is_healthy() { paas status --json | grep -q '"healthy": *true'; }
role() {
    paas status --json | python3 -c \
        'import json, sys; print(*(r["pid"] for r in json.load(sys.stdin)["roles"] if r["name"] == sys.argv[1]))' "$1"
}
supervisor() { systemctl show --property=MainPID --value paas; }
# The keepers of dynos, pid and start time: who is still the same has the same line.
keepers() { cat /run/paas/dynos/*/pid; }
page() { curl -sS --max-time 90 "http://$1.paas.localhost/"; }
answers() { [[ $(page "$1") == "$2"* ]]; }
all_live() { ls -d $(cut -d' ' -f1 /run/paas/dynos/*/pid | sed 's|^|/proc/|'); } > /dev/null 2>&1
group_of() { sed -n 's|^0::|/sys/fs/cgroup|p' "/proc/$1/cgroup"; }
# Where the dynos are: in the unit, or in the scope that stands in for it before systemd 254.
groups() {
    local keeper
    for keeper in $(cut -d' ' -f1 /run/paas/dynos/*/pid); do
        group_of "$keeper"
    done | grep -E "^$slice/paas\.(service|scope)/dynos/central/"
}
within_limits() { [[ $(< "$1/memory.max") == 536870912 ]] || fail "memory.max of $1 is $(< "$1/memory.max")"; }
# Whatever carries the platform's name outside of its data.
traces() {
    ps -eo pid=,args= | grep -E '[/ ]paas( |$)|nursery' | grep -v grep
    cut -d' ' -f5 /proc/self/mountinfo | grep paas
    find /sys/fs/cgroup -type d -name 'paas*'
    ls /sys/class/net | grep '^paas'
    ls /run/netns 2> /dev/null | grep paas
    nft list tables | grep paas
    ls -d /run/paas 2> /dev/null
    cat /sys/block/loop*/loop/backing_file 2> /dev/null
} 2> /dev/null
