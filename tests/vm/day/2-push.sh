# A first push, and where its dyno lives.
cp -r $tree/tests/apps/procfile-worker ~/hello
cd ~/hello
git config --global user.email dev@example.com
git config --global user.name dev
git init -q -b main
git add .
git commit -qm first
shows paas create hello
shows git push paas main
shows curl -sS http://hello.paas.localhost/
answers hello 'hello from procfile on web.1' || fail "the page is another"
shows paas ps:scale web=2 worker=1
until_true 120 eval '[[ $(paas ps | grep -c ": up ") == 3 ]]'
shows paas ps
shows paas ps:port web.1
[[ -n $(groups) ]] || fail "no dynos below $slice"
shows systemd-cgls --no-pager "$(group_of "$(supervisor)")"
for group in $(groups); do
    within_limits "$group"
    shows grep . "$group"/{memory.max,pids.max,cpu.weight,memory.current,pids.current}
done
[[ -z $(cat $slice/paas.service/cgroup.subtree_control) || -z $(cat $slice/paas.service/cgroup.procs) ]] ||
    fail "an inner node has processes"
