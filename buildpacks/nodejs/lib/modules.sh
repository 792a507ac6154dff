# shellcheck shell=bash
# package.json and its lock -> node_modules, from the last build when nothing changed, else by npm.

npm_cache_max_mb=500

install_modules() {
    local state key=''
    choose_install
    if [[ -d node_modules ]]; then
        warn "node_modules is in git: they are used as they are, and native ones built again." \
            "Better: git rm -r --cached node_modules, and a line node_modules in .gitignore"
        run_npm rebuild
        return
    fi
    state=$(ask fingerprint)
    if [[ $state != moving* ]]; then
        key=$(printf '%s\n' "$state" "$node_version" "${STACK:-}" "${install[*]}" "$NODE_ENV" \
            "$(<"$buildpack/versions")" | sha256sum)
    fi
    if [[ -n $key && -f $cache_dir/key && $(<"$cache_dir/key") == "$key" ]]; then
        step "Using node_modules of the last build, since the dependencies are the same"
        restore_modules
        return
    fi
    step "Installing packages with npm ${install[0]}"
    run_npm "${install[@]}"
    remember_modules "$key"
}

# Fills `install`. Packages that only a build needs are left out at once when there is no build.
choose_install() {
    install=(ci --prefer-offline)
    if [[ ! -f package-lock.json && ! -f npm-shrinkwrap.json ]]; then
        warn "There is no package-lock.json: the next build may get other versions of its packages." \
            "To keep them: npm install --package-lock-only, then commit package-lock.json"
        install=(install --no-package-lock)
    fi
    must_prune=''
    if needs_dev_packages; then
        install+=(--include=dev)
        must_prune=$(ask dev)
    else
        install+=(--omit=dev)
    fi
}

needs_dev_packages() {
    local script
    [[ $(ask dev) == yes ]] || return 1
    for script in build heroku-prebuild heroku-postbuild preinstall install postinstall prepare prepublish; do
        ! has_script "$script" || return 0
    done
    return 1
}

run_npm() {
    local log
    log=$(mktemp)
    if ! npm "$@" 2>&1 | tee "$log" | indent; then
        explain_npm_failure "$log" "npm $1"
    fi
    rm -f "$log"
}

explain_npm_failure() {
    if grep -qE 'E(AI_AGAIN|NOTFOUND|CONNREFUSED|CONNRESET|TIMEDOUT|HOSTUNREACH|NETUNREACH)|network timeout|ERR_SOCKET' "$1"; then
        fail "The packages of package.json could not be installed: the npm registry does not answer." \
            "This is no fault of the app. Push again when the registry answers."
    fi
    if grep -q 'can only install packages when your package.json and package-lock.json' "$1"; then
        fail "package-lock.json does not fit package.json." \
            "To correct it: npm install --package-lock-only, then commit package-lock.json"
    fi
    local cause=()
    mapfile -t cause < <(sed -n 's/^npm error //p' "$1" | grep -vE 'A complete log|^$' | head -n 20)
    fail "The packages of package.json could not be installed. $2 says:" "${cause[@]}"
}

# remember_modules KEY: empty if they must be installed anew each time.
remember_modules() {
    rm -rf "$cache_dir/key" "$cache_dir/node_modules"
    if [[ -n $1 ]]; then
        if [[ -d node_modules ]]; then
            cp -a node_modules "$cache_dir/node_modules"
        fi
        printf '%s' "$1" > "$cache_dir/key"
    fi
    rm -rf "$cache_dir/npm/_logs" "$cache_dir/npm/_update-notifier-last-checked"
    local used_mb
    used_mb=$(du -sm "$cache_dir/npm" | cut -f1)
    if ((used_mb > npm_cache_max_mb)); then
        detail "Dropping the download cache: $used_mb MB, more than $npm_cache_max_mb MB"
        rm -rf "$cache_dir/npm"
    fi
}

restore_modules() {
    # An app without packages has none to restore.
    [[ ! -d $cache_dir/node_modules ]] || cp -a "$cache_dir/node_modules" node_modules
}

prune_modules() {
    [[ $must_prune == yes && -d node_modules ]] || return 0
    step "Removing packages that only the build needed"
    run_npm prune --omit=dev --no-package-lock
}
