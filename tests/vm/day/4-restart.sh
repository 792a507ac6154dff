# systemd restarts and reloads; dynos stay and keep their limits.
before=$(keepers)
systemctl restart paas
until_true 120 is_healthy
until_true 60 answers hello 'hello from procfile'
[[ $(keepers) == "$before" ]] || fail "dynos are others after systemctl restart"
printf 'systemctl restart: new roles, the same dynos\n'
systemctl daemon-reload
systemctl daemon-reexec
systemctl reload paas
until_true 120 is_healthy
until_true 60 answers hello 'hello from procfile'
[[ $(keepers) == "$before" ]] || fail "dynos are others after a reload"
for group in $(dynos_group)/*/0; do
    [[ $(< "$group/memory.max") == 536870912 ]] || fail "the limits of $group are gone"
done
printf 'daemon-reload, daemon-reexec, reload: the same dynos, within their limits\n'
shows paas ps:restart
until_true 120 eval '[[ $(paas ps | grep -c ": up ") == 3 ]]'
cd ~/hello
echo >> Procfile
git commit -qam second
shows git push paas main
until_true 60 answers hello 'hello from procfile'
