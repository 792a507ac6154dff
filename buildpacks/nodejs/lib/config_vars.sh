# shellcheck shell=bash
# Config vars for the tools and scripts of the app. The platform hands them over as files only
# (ENV_DIR), so that a buildpack decides; those that would break a build stay out.
# python/lib has the same file: each buildpack is a folder that stands alone.

# export_config_vars ENV_DIR
export_config_vars() {
    local file name value
    for file in "$1"/*; do
        name=${file##*/}
        [[ -f $file && $name =~ ^[A-Za-z_][A-Za-z0-9_]*$ ]] || continue
        case $name in
            PATH | HOME | LANG | IFS | SHELLOPTS | UID | EUID | PPID | BASH* | BUILD_DIR) continue ;;
            GIT_DIR | CPATH | CPPATH | LIBRARY_PATH | LD_* | PYTHONHOME | PYTHONPATH) continue ;;
        esac
        IFS= read -r -d '' value < "$file" || true
        export "$name=$value"
    done
}
