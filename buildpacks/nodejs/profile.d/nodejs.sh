# Sourced when a dyno starts. Config vars are set before and win where a default is meant.
export NODE_HOME=/layers/node
export PATH="/layers/node/bin:$PATH:/app/bin:/app/node_modules/.bin"
export NODE_ENV="${NODE_ENV:-production}"

# Number of processes for apps that fork workers: WEB_MEMORY MB each. The platform writes the
# dyno's limit to the place where cgroup v1 had it.
MEMORY_AVAILABLE=512
if [[ -r /sys/fs/cgroup/memory/memory.limit_in_bytes ]]; then
    MEMORY_AVAILABLE=$(($(</sys/fs/cgroup/memory/memory.limit_in_bytes) / 1048576))
    if ((MEMORY_AVAILABLE <= 0 || MEMORY_AVAILABLE > 1048576)); then
        MEMORY_AVAILABLE=512
    fi
fi
export MEMORY_AVAILABLE
export WEB_MEMORY="${WEB_MEMORY:-$((MEMORY_AVAILABLE > 16384 ? 2048 : 512))}"
if [[ -z ${WEB_CONCURRENCY:-} && $WEB_MEMORY =~ ^[1-9][0-9]*$ ]]; then
    WEB_CONCURRENCY=$((MEMORY_AVAILABLE / WEB_MEMORY))
    ((WEB_CONCURRENCY >= 1)) || WEB_CONCURRENCY=1
    ((WEB_CONCURRENCY <= 200)) || WEB_CONCURRENCY=200
    export WEB_CONCURRENCY
fi
