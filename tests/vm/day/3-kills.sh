# kill -9 of each role and of the supervisor: dynos stay, the page is served, the role comes back.
before=$(keepers)
for name in nursery api builder dynod router; do
    old=$(role $name)
    kill -9 "$old"
    until_true 60 eval "[[ -n \$(role $name) && \$(role $name) != $old ]]"
    until_true 60 is_healthy
    until_true 60 answers hello 'hello from procfile'
    [[ $(keepers) == "$before" ]] || fail "dynos are others after $name was killed"
    printf '%s: %s is now %s, dynos are the same\n' $name "$old" "$(role $name)"
done
old=$(supervisor)
roles=$(for name in nursery api builder dynod router; do role $name; done)
kill -9 "$old"
until_true 60 eval "[[ \$(supervisor) != 0 && \$(supervisor) != $old ]]"
until_true 60 is_healthy
until_true 60 eval '[[ $(journalctl -u paas _PID=$(supervisor) -o cat | grep -c adopted) == 5 ]]'
[[ $(keepers) == "$before" ]] || fail "dynos are others"
[[ $(for name in nursery api builder dynod router; do role $name; done) == "$roles" ]] || fail "roles are others"
printf 'paas up: %s is now %s, adopted five roles; roles and dynos are the same\n' "$old" "$(supervisor)"
answers hello 'hello from procfile' || fail "the page is another"
