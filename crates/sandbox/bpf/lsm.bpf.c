// SPDX-License-Identifier: MIT OR GPL-2.0-only
/* What dynos in one net namespace share beside packets, where the kernel takes BPF LSM programs.
 *
 * Optional: without it Landlock holds the abstract sockets, and docs/policy.md tells the rest.
 * These programs see every process of the machine: whoever is no dyno passes at the first line.
 * Fields of the kernel's structs are found by its BTF, so only those that are read stand here. */
#include "policy.h"
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_tracing.h>

#define PROC_SUPER_MAGIC 0x9fa0

/* Set by the loader: the cgroup above all dynos in central mode. */
const volatile __u64 CENTRAL = 0;

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct kernfs_node {
	__u64 id;
};

struct cgroup {
	struct kernfs_node *kn;
	int level;
	struct cgroup *ancestors[0];
};

struct sock_cgroup_data {
	struct cgroup *cgroup;
};

struct sock_common {
	unsigned short skc_family;
	__u16 skc_num;
};

struct sock {
	struct sock_common __sk_common;
	struct sock_cgroup_data sk_cgrp_data;
};

struct socket {
	struct sock *sk;
};

struct super_block {
	unsigned long s_magic;
};

struct inode {
	struct super_block *i_sb;
};

struct qstr {
	const unsigned char *name;
};

struct dentry {
	struct dentry *d_parent;
	struct qstr d_name;
};

struct path {
	struct dentry *dentry;
};

struct file {
	struct path f_path;
	struct inode *f_inode;
};

#pragma clang attribute pop

/* The dyno that runs now; 0: it is none. */
static __always_inline __u64 current_dyno(void)
{
	if (bpf_get_current_ancestor_cgroup_id(LEVEL - 1) != CENTRAL)
		return 0;
	return own_cgroup();
}

/* The dyno whose socket it is; 0: it is none. */
static __always_inline __u64 dyno_of(struct sock *sk)
{
	struct cgroup *cgroup = BPF_CORE_READ(sk, sk_cgrp_data.cgroup);
	if (!cgroup || BPF_CORE_READ(cgroup, level) < (int)LEVEL)
		return 0;
	/* The list itself, not its first entry: a loader may hold an index against the declared length. */
	struct cgroup **ancestors = (void *)__builtin_preserve_access_index(&cgroup->ancestors);
	struct cgroup *dyno = 0;
	bpf_probe_read_kernel(&dyno, sizeof(dyno), ancestors + LEVEL);
	return BPF_CORE_READ(dyno, kn, id);
}

static __always_inline int refuse(__u64 cgroup, int hook, int error)
{
	struct refusal what = { .cgroup = cgroup, .hook = hook, .error = error };
	note(bpf_map_lookup_elem(&dynos, &cgroup), &what);
	return -error;
}

/* It would get a port on all addresses, and keep its neighbours from using the number. */
SEC("lsm/socket_listen")
int BPF_PROG(lsm_listen, struct socket *socket, int backlog, int ret)
{
	__u64 dyno = current_dyno();
	if (ret || !dyno)
		return ret;
	struct sock *sk = BPF_CORE_READ(socket, sk);
	__u16 family = BPF_CORE_READ(sk, __sk_common.skc_family);
	if (family != AF_INET && family != AF_INET6)
		return 0;
	if (BPF_CORE_READ(sk, __sk_common.skc_num))
		return 0;
	return refuse(dyno, HOOK_LISTEN, EADDRNOTAVAIL);
}

SEC("lsm/unix_stream_connect")
int BPF_PROG(lsm_unix_connect, struct sock *socket, struct sock *other, struct sock *made, int ret)
{
	__u64 dyno = current_dyno();
	if (ret || !dyno || dyno_of(other) == dyno)
		return ret;
	return refuse(dyno, HOOK_UNIX, EPERM);
}

SEC("lsm/unix_may_send")
int BPF_PROG(lsm_unix_send, struct socket *socket, struct socket *other, int ret)
{
	__u64 dyno = current_dyno();
	if (ret || !dyno || dyno_of(BPF_CORE_READ(other, sk)) == dyno)
		return ret;
	return refuse(dyno, HOOK_UNIX, EPERM);
}

static __always_inline int is(const char *name, const char *wanted, int length)
{
	for (int at = 0; at <= length; at++)
		if (name[at] != wanted[at])
			return 0;
	return 1;
}

#define IS(name, wanted) is(name, wanted, sizeof(wanted) - 1)

/* /proc/net and what looks like it: lists of everybody's sockets. */
SEC("lsm/file_open")
int BPF_PROG(lsm_file_open, struct file *file, int ret)
{
	__u64 dyno = current_dyno();
	if (ret || !dyno)
		return ret;
	if (BPF_CORE_READ(file, f_inode, i_sb, s_magic) != PROC_SUPER_MAGIC)
		return 0;
	char name[16] = {};
	struct dentry *dentry = BPF_CORE_READ(file, f_path.dentry);
	bpf_probe_read_kernel_str(name, sizeof(name), BPF_CORE_READ(dentry, d_parent, d_name.name));
	if (!IS(name, "net"))
		return 0;
	__builtin_memset(name, 0, sizeof(name));
	bpf_probe_read_kernel_str(name, sizeof(name), BPF_CORE_READ(dentry, d_name.name));
	if (IS(name, "dev") || IS(name, "route") || IS(name, "if_inet6") || IS(name, "snmp"))
		return 0;
	return refuse(dyno, HOOK_FILE, EACCES);
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
