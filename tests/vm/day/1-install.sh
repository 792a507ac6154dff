# `make up` less its building: programs come on the second disk.
mkdir -p $tree
mount /dev/vdb $tree
cd $tree
shows uname -r
shows sh -c 'systemctl --version | head -n 1'
[[ $(stat -fc %T /sys/fs/cgroup) == cgroup2fs ]] || fail "this is not cgroup v2 alone"
shows make programs settings start account next || fail "make up failed"
is_healthy || fail "it is not healthy"
shows paas status
shows paas doctor
