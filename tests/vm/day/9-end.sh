# Down and away: nothing is left.
mount /dev/vdb $tree
cd $tree
shows make down
found=$(traces || true)
[[ -z $found ]] || fail "make down left: $found"
shows make start
until_true 120 answers hello 'hello from procfile'
shows make uninstall YES=1
cd /
umount $tree
found=$(traces || true)
found+=$(find /etc /usr /var /root /run /tmp -xdev -name '*paas*' -not -path '/root/hello/*' || true)
found+=$(getent passwd | grep paas || true)
[[ -z $found ]] || fail "make uninstall left: $found"
printf 'nothing of the platform is left\n'
