# systemd restarts, stops, starts and reloads; dynos stay and keep their limits.
before=$(keepers)
systemctl restart paas
until_true 120 is_healthy
until_true 60 answers hello 'hello from procfile'
[[ $(keepers) == "$before" ]] || fail "dynos are others after systemctl restart"
printf 'systemctl restart: new roles, the same dynos\n'
systemctl stop paas
[[ $(keepers) == "$before" ]] || fail "dynos are others after systemctl stop"
all_live || fail "dynos are gone after systemctl stop"
systemctl start paas
until_true 120 is_healthy
until_true 60 answers hello 'hello from procfile'
[[ $(keepers) == "$before" ]] || fail "dynos are others after systemctl start"
printf 'systemctl stop, start: the same dynos, and they ran in between\n'
systemctl daemon-reload
systemctl daemon-reexec
systemctl reload paas
until_true 120 is_healthy
until_true 60 answers hello 'hello from procfile'
[[ $(keepers) == "$before" ]] || fail "dynos are others after a reload"
for group in $(groups); do within_limits "$group"; done
printf 'daemon-reload, daemon-reexec, reload: the same dynos, within their limits\n'
shows paas ps:restart -a hello
until_true 120 eval '[[ $(paas ps -a hello | grep -c ": up ") == 3 ]]'
cd ~/hello
echo >> Procfile
git commit -qam second
shows git push paas main
until_true 60 answers hello 'hello from procfile'
