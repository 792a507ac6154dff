/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* What both objects and the loader (src/policy/record.rs) agree on: the maps and their records.
 *
 * The layout of `struct dyno` never changes, since its map outlives every version of the programs:
 * new fields come out of `reserve`. Another map that changes its layout gets another name. */
#pragma once
#include <linux/bpf.h>
#include <linux/types.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define DYNOS_MAX 16384
#define OWNERS_MAX 32768
#define DENIED_MAX 1024
#define REFUSALS_MAX 16384
#define EVENTS_BYTES (256 * 1024)

/* Kinds of refusals that one dyno has an entry of its own for; the rest is counted together. */
#define KINDS_MAX 64
/* Listen events of one dyno in a second that are told. */
#define LISTENS_MAX 64
#define SECOND_NS 1000000000ULL

#define AF_INET 2
#define AF_INET6 10

#define EPERM 1
#define ENOMEM 12
#define EACCES 13
#define EADDRNOTAVAIL 99
#define ENETUNREACH 101
#define ETIMEDOUT 110
#define ECONNREFUSED 111

/* Addresses are in network order, numbers in the machine's. */
struct dyno {
	__be32 addr4; /* for the outside */
	__be32 lo4;   /* its private 127.0.0.1 */
	__u16 port;
	__u16 net;
	__u32 flags;
	__u32 kinds;
	__u32 spare;
	__u64 bytes_in;
	__u64 bytes_out;
	__u64 reserve[3];
};
#define HAS_LISTENED 1 /* on addr4:port */

enum hook {
	HOOK_SOCKET = 1,
	HOOK_BIND = 2,
	HOOK_CONNECT = 3,
	HOOK_SEND = 4,
	HOOK_LISTEN = 5,
	HOOK_IN = 6,
	HOOK_OUT = 7,
	HOOK_UNIX = 8,
	HOOK_FILE = 9,
};

struct refusal {
	__u64 cgroup;
	__u8 hook;
	__u8 family; /* 4, 6, or 0 for none */
	__u16 port;  /* HOOK_SOCKET: the protocol */
	__u32 error;
	__be32 ip[4]; /* the first one alone for family 4 */
};

struct event {
	__u8 kind;
	__u8 hook;
	__u8 family;
	__u8 is_unbound;
	__u16 port;
	__u16 error;
	__u64 cgroup;
	__be32 ip[4];
};
#define EVENT_LISTEN 1
#define EVENT_REFUSED 2

struct pace {
	__u64 since;
	__u64 told;
};

struct denied {
	__u32 prefix;
	__be32 ip;
};
#define DENY_ALL 1
#define DENY_ALL_BUT_DNS 2

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, DYNOS_MAX);
	__type(key, __u64);
	__type(value, struct dyno);
} dynos SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, REFUSALS_MAX);
	__type(key, struct refusal);
	__type(value, __u64);
} refusals SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, EVENTS_BYTES);
} events SEC(".maps");

/* Set by the loader: how deep a dyno's cgroup lies below the root of the tree. */
const volatile __u32 LEVEL = 0;

static __always_inline __u64 own_cgroup(void)
{
	return bpf_get_current_ancestor_cgroup_id(LEVEL);
}

/* Counts a refusal; the first of its kind is told. */
static __noinline int note(struct dyno *dyno, struct refusal *what)
{
	if (!dyno || !what)
		return 0;
	__u64 *count = bpf_map_lookup_elem(&refusals, what);
	if (count) {
		__sync_fetch_and_add(count, 1);
		return 0;
	}
	__u64 first = 1;
	if (dyno->kinds >= KINDS_MAX) {
		what->family = 0;
		what->port = 0;
		__builtin_memset(what->ip, 0, sizeof(what->ip));
		count = bpf_map_lookup_elem(&refusals, what);
		if (count) {
			__sync_fetch_and_add(count, 1);
			return 0;
		}
		bpf_map_update_elem(&refusals, what, &first, BPF_NOEXIST);
		return 0;
	}
	dyno->kinds++;
	bpf_map_update_elem(&refusals, what, &first, BPF_NOEXIST);
	struct event event = {
		.kind = EVENT_REFUSED,
		.hook = what->hook,
		.family = what->family,
		.port = what->port,
		.error = what->error,
		.cgroup = what->cgroup,
		.ip = { what->ip[0], what->ip[1], what->ip[2], what->ip[3] },
	};
	bpf_ringbuf_output(&events, &event, sizeof(event), 0);
	return 0;
}
