# shellcheck shell=bash
# Which Python the app asks for, against the only one there is: the stack's.

choose_python() {
    python_version=$(/usr/bin/python3 -c 'import platform; print(platform.python_version())')
    local wanted
    read_wanted_version
    case $wanted in
        '')
            step "Using Python $python_version of the stack"
            detail "Neither .python-version nor runtime.txt asks for another. To pin it: echo ${python_version%.*} > .python-version"
            ;;
        "$python_version" | "${python_version%.*}" | "${python_version%%.*}")
            step "Using Python $python_version, as $version_file asks"
            ;;
        *.*.*)
            fail "Python $wanted, which $version_file asks for, does not exist on this stack." \
                "It has Python $python_version. To use it: echo ${python_version%.*} > .python-version"
            ;;
        *)
            step "Using Python $python_version of the stack"
            warn "$version_file asks for Python $wanted, which does not exist on this stack." \
                "The app gets Python $python_version and may not run with it." \
                "To say that it does: echo ${python_version%.*} > .python-version"
            ;;
    esac
}

# Fills `wanted` and `version_file`.
read_wanted_version() {
    version_file='' wanted=''
    if [[ -f .python-version ]]; then
        version_file=.python-version
        wanted=$(sed -E 's/[[:space:]]|\r//g; /^(#|$)/d' .python-version | head -n 1)
    elif [[ -f runtime.txt ]]; then
        version_file=runtime.txt
        wanted=$(tr -d '[:space:]' < runtime.txt)
        [[ $wanted == python-* ]] ||
            fail "runtime.txt says '$wanted'. It must look like: python-${python_version%.*}"
        wanted=${wanted#python-}
    fi
    [[ -z $version_file || $wanted =~ ^[0-9]+(\.[0-9]+){0,2}$ ]] ||
        fail "$version_file says '$wanted', which is no Python version. It must look like: ${python_version%.*}"
}
