# shellcheck shell=bash
# requirements.txt -> the environment, from the last build when nothing changed, else by uv.

uv=/layers/uv/bin/uv
uv_cache_max_mb=500

require_requirements() {
    [[ ! -f requirements.txt ]] || return 0
    local lines=("There is no requirements.txt, the list of packages that this buildpack installs.") misspelt
    misspelt=$(find . -maxdepth 1 -type f -iregex '\./\(requirements?\|reqs?\|requires?\)\.\(te?xt\|txt\.txt\)' |
        sort | head -n 1)
    if [[ -n $misspelt ]]; then
        lines+=("There is a ${misspelt#./}. To correct its name: git mv ${misspelt#./} requirements.txt")
    elif [[ -f uv.lock ]]; then
        lines+=("There is a uv.lock. To make it from that: uv export --no-dev --output-file requirements.txt")
    elif [[ -f poetry.lock ]]; then
        lines+=("There is a poetry.lock. To make it from that: poetry export --output requirements.txt")
    elif [[ -f Pipfile.lock ]]; then
        lines+=("There is a Pipfile.lock. To make it from that: pipenv requirements > requirements.txt")
    elif [[ -f pdm.lock ]]; then
        lines+=("There is a pdm.lock. To make it from that: pdm export --prod --output requirements.txt")
    elif [[ -f pyproject.toml ]]; then
        lines+=("To make it from pyproject.toml: uv pip compile pyproject.toml --output-file requirements.txt")
    else
        lines+=("An app without packages has an empty one: touch requirements.txt")
    fi
    fail "${lines[@]}" "Then commit it and push again."
}

install_dependencies() {
    local state key=''
    state=$(/usr/bin/python3 -B "$buildpack/lib/requirements.py" requirements.txt)
    if [[ $state == same* ]]; then
        key=$(printf '%s\n' "$state" "$python_version" "${STACK:-}" "$(<"$buildpack/versions")" | sha256sum)
    fi
    if [[ -n $key && -f $cache_dir/environment.tar && $(<"$cache_dir/key") == "$key" ]]; then
        step "Using the packages of the last build, since requirements.txt is the same"
        tar -xf "$cache_dir/environment.tar" -C "$build_dir/.heroku"
        return
    fi
    step "Installing requirements.txt with uv $(sed -n 's/^uv \([^ ]*\).*/\1/p' "$buildpack/versions")"
    make_environment
    remember_environment "$key"
}

make_environment() {
    local log
    log=$(mktemp)
    set_up_uv
    "$uv" venv --quiet --no-project --python /usr/bin/python3 "$environment"
    if ! "$uv" pip install --python "$environment/bin/python" --requirement requirements.txt 2>&1 |
        tee "$log" | indent; then
        explain_failure "$log"
    fi
    rm -f "$log" "$environment"/{.gitignore,.lock,CACHEDIR.TAG}
    # uv's note on when it built a local package: a time stamp that nothing reads here.
    find "$environment/lib" -path '*.dist-info/uv_cache.json' -delete
    "$environment/bin/python" -m compileall -q -f --invalidation-mode unchecked-hash "$environment/lib" \
        > /dev/null 2>&1 || true
}

# Without debug information what is compiled here is a fifth as large, and says nothing of the
# folder in which it was compiled, which has another name each time.
# uv does not read pip's settings; the platform and the app give them by pip's names.
set_up_uv() {
    export UV_CACHE_DIR=$cache_dir/uv UV_PYTHON_DOWNLOADS=never UV_LINK_MODE=copy UV_NO_PROGRESS=1
    export CFLAGS=${CFLAGS:--g0} CXXFLAGS=${CXXFLAGS:--g0}
    [[ -z ${PIP_INDEX_URL:-} ]] || export UV_DEFAULT_INDEX=${UV_DEFAULT_INDEX:-${UV_INDEX_URL:-$PIP_INDEX_URL}}
    [[ -z ${PIP_EXTRA_INDEX_URL:-} ]] || export UV_INDEX=${UV_INDEX:-$PIP_EXTRA_INDEX_URL}
    [[ -z ${PIP_TRUSTED_HOST:-} ]] || export UV_INSECURE_HOST=${UV_INSECURE_HOST:-$PIP_TRUSTED_HOST}
    [[ -z ${PIP_DEFAULT_TIMEOUT:-} ]] || export UV_HTTP_TIMEOUT=${UV_HTTP_TIMEOUT:-$PIP_DEFAULT_TIMEOUT}
    [[ -z ${PIP_CERT:-} ]] || export SSL_CERT_FILE=${SSL_CERT_FILE:-$PIP_CERT}
}

explain_failure() {
    local cause=()
    if grep -qE 'error sending request|dns error|[Cc]onnection refused|timed out|tcp connect' "$1"; then
        fail "requirements.txt could not be installed: the package index does not answer." \
            "This is no fault of the app. Push again when the index answers."
    fi
    mapfile -t cause < <(sed -nE '/^(error:|  ×)/,$p' "$1" | sed 's/^ *//; /^$/d' | head -n 20)
    fail "requirements.txt could not be installed. uv says:" "${cause[@]}"
}

# remember_environment KEY: empty if the environment must be made anew each time. An archive, since
# making thousands of files is what costs: a second tree would double the time of a first build.
remember_environment() {
    rm -f "$cache_dir/key" "$cache_dir/environment.tar"
    if [[ -n $1 ]]; then
        tar -cf "$cache_dir/environment.tar" -C "$build_dir/.heroku" python
        printf '%s' "$1" > "$cache_dir/key"
    fi
    local used_mb
    used_mb=$(du -sm "$cache_dir/uv" | cut -f1)
    if ((used_mb > uv_cache_max_mb)); then
        detail "Dropping the download cache: $used_mb MB, more than $uv_cache_max_mb MB"
        rm -rf "$cache_dir/uv"
    fi
}
