# shellcheck shell=bash
# package.json and its lock -> node_modules, from the last build when nothing changed, else by npm.

npm_cache_max_mb=500

install_modules() {
    local key=''
    choose_install
    if [[ -d node_modules ]]; then
        warn "node_modules is in git: they are used as they are, and native ones built again." \
            "Better: git rm -r --cached node_modules, and a line node_modules in .gitignore"
        run_npm rebuild
        return
    fi
    if [[ -n $fingerprint ]]; then
        key=$(printf '%s\n' "$fingerprint" "$node_version" "${STACK:-}" "${install[*]}" "$NODE_ENV" \
            "$(<"$buildpack/versions")" | sha256sum)
    fi
    if [[ -n $key && -f $cache_dir/node_modules.tar && $(<"$cache_dir/key") == "$key" ]]; then
        step "Using node_modules of the last build, since the dependencies are the same"
        tar -xf "$cache_dir/node_modules.tar"
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
        warn_of_missing_lock
        install=(install --no-package-lock)
    fi
    must_prune=''
    if needs_dev_packages; then
        install+=(--include=dev)
        must_prune=$has_dev_packages
    else
        install+=(--omit=dev)
    fi
}

warn_of_missing_lock() {
    local other lines=("There is no package-lock.json: the next build may get other versions of its packages.")
    for other in yarn.lock pnpm-lock.yaml bun.lock; do
        [[ ! -f $other ]] || lines+=("$other is not read: this buildpack installs with npm.")
    done
    warn "${lines[@]}" "To keep versions: npm install --package-lock-only, then commit package-lock.json"
}

needs_dev_packages() {
    local script
    [[ -n $has_dev_packages ]] || return 1
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
    mapfile -t cause < <(sed -nE 's/^npm error (code E[0-9]+$)?([0-9]{3} *)?//p' "$1" |
        grep -vE '^$|^ *$|^Log files|A complete log|^Note that|^tarball, folder' | head -n 20)
    fail "The packages of package.json could not be installed. $2 says:" "${cause[@]}"
}

# remember_modules KEY: empty if they must be installed anew each time. An archive, since making
# thousands of files is what costs: a second tree would double the time of a first build.
remember_modules() {
    rm -f "$cache_dir/key" "$cache_dir/node_modules.tar"
    if [[ -n $1 ]]; then
        # An app without packages has no node_modules: that is an empty archive.
        find . -maxdepth 1 -name node_modules | tar -cf "$cache_dir/node_modules.tar" --files-from -
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

prune_modules() {
    [[ $must_prune == yes && -d node_modules ]] || return 0
    step "Removing packages that only the build needed"
    run_npm prune --omit=dev --no-package-lock
}
