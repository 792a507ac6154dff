# Sourced when a dyno starts. Config vars are set before and win where a default is meant.
export PATH="/app/.heroku/python/bin:$PATH"
export PYTHONUNBUFFERED=true
export PYTHONPATH="${PYTHONPATH:-/app}"
export LANG="${LANG:-C.UTF-8}"

# Number of worker processes: two a core and one, as far as the dyno's memory goes (256 MB each).
# The platform writes the limit to the place where cgroup v1 had it.
if [[ -r /sys/fs/cgroup/memory/memory.limit_in_bytes ]]; then
    _memory_mb=$(($(</sys/fs/cgroup/memory/memory.limit_in_bytes) / 1048576))
    if ((_memory_mb > 0 && _memory_mb <= 1048576)); then
        export DYNO_RAM="$_memory_mb"
        _by_memory=$((_memory_mb / 256 > 0 ? _memory_mb / 256 : 1))
        _by_cores=$((2 * $(nproc) + 1))
        export WEB_CONCURRENCY="${WEB_CONCURRENCY:-$((_by_memory < _by_cores ? _by_memory : _by_cores))}"
    fi
    unset _memory_mb _by_memory _by_cores
fi

# gunicorn logs to a file unless told, and believes a proxy only on the same machine.
export GUNICORN_CMD_ARGS="${GUNICORN_CMD_ARGS:---access-logfile -}"
export FORWARDED_ALLOW_IPS="${FORWARDED_ALLOW_IPS:-*}"
