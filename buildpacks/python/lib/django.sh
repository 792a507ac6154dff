# shellcheck shell=bash
# Django apps: static files are collected at build time, unless DISABLE_COLLECTSTATIC says not to.

collect_static_files() {
    [[ -f manage.py && -d $(echo "$environment"/lib/python3*/site-packages/django) ]] || return 0
    [[ ${DISABLE_COLLECTSTATIC:-0} == 0 ]] || return 0
    # Settings without django.contrib.staticfiles have no such command.
    python manage.py help collectstatic > /dev/null 2>&1 || return 0
    step "Running manage.py collectstatic"
    python manage.py collectstatic --noinput --traceback 2>&1 | indent ||
        fail "manage.py collectstatic failed: its last lines above say why." \
            "Correct the settings, or leave it out: paas config:set DISABLE_COLLECTSTATIC=1"
}
