// SPDX-License-Identifier: MIT OR GPL-2.0-only
/* PORT, held by the cgroup. docs/policy.md tells what each hook does and why.
 *
 * Two layers. The hooks on addresses rewrite, so that ordinary programs run unchanged: "all
 * addresses" becomes the dyno's own, 127.0.0.1 its private loopback. The hooks on packets judge:
 * whatever a socket got hold of, no packet passes that is not the dyno's own. */
#include "policy.h"

#define IPPROTO_TCP 6
#define IPPROTO_UDP 17
#define IPPROTO_IPV6 41
#define IPV6_V6ONLY 26
#define SOCK_STREAM 1
#define SOCK_DGRAM 2
#define ETH_P_IPV6 0x86DD
#define TCP_SYN 0x02
#define TCP_ACK 0x10

#define LOCALHOST bpf_htonl(0x7f000001)
#define MAPPED bpf_htonl(0xffff)
#define PRIVATE6 bpf_htonl(0xfd7f0000) /* fd7f::<lo4> is a dyno's private ::1 */

/* For bind: 1 allows, 2 lets ports below 1024 pass without a capability (Linux 5.12). */
#define ALLOW_ANY_PORT 3

/* Two accesses to a context must not become one with a computed offset: the verifier refuses it. */
#define FRESH(ctx) asm volatile("" : "+r"(ctx))

/* What is remembered of a socket, from bind() on. Costs its owner 9 us of processor in all, most of
 * it when the socket goes, so sockets that only connect have none. */
struct mark {
	__u64 cgroup;
	__u8 is_v6only;
	__u8 asked_for_localhost6;
	__u8 spare[6];
};

struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct mark);
} sockets SEC(".maps");

/* Whose socket it is, by its cookie, from socket() on: for those that listen without bind(). The
 * oldest are forgotten. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, OWNERS_MAX);
	__type(key, __u64);
	__type(value, __u64);
} owners SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, DENIED_MAX);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct denied);
	__type(value, __u32);
} deny SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, DYNOS_MAX);
	__type(key, __u64);
	__type(value, struct pace);
} pace SEC(".maps");

/* The error that the system call returns, when the program returns 0 as well (Linux 5.18). */
static __always_inline int fail(int error)
{
	bpf_set_retval(-error);
	return 0;
}

static __always_inline int is_127(__be32 ip)
{
	return (ip & bpf_htonl(0xff000000)) == bpf_htonl(0x7f000000);
}

/* `port` in the machine's order. */
static __always_inline int is_denied(__be32 ip, __u16 port)
{
	struct denied key = { .prefix = 32, .ip = ip };
	__u32 *kind = bpf_map_lookup_elem(&deny, &key);
	if (!kind)
		return 0;
	if (*kind == DENY_ALL_BUT_DNS && port == 53)
		return 0;
	return 1;
}

static __always_inline int refuse4(struct dyno *dyno, int hook, __be32 ip, __u16 port, int error)
{
	struct refusal what = {
		.cgroup = own_cgroup(), .hook = hook, .family = 4,
		.port = port, .error = error, .ip = { ip },
	};
	note(dyno, &what);
	return fail(error);
}

static __always_inline int refuse6(struct dyno *dyno, int hook, __be32 *ip, __u16 port, int error)
{
	struct refusal what = {
		.cgroup = own_cgroup(), .hook = hook, .family = 6,
		.port = port, .error = error, .ip = { ip[0], ip[1], ip[2], ip[3] },
	};
	note(dyno, &what);
	return fail(error);
}

static __always_inline struct dyno *self(void)
{
	__u64 cgroup = own_cgroup();
	return bpf_map_lookup_elem(&dynos, &cgroup);
}

/* --- socket() --------------------------------------------------------------------------------- */

static __always_inline int remember(struct bpf_sock *c)
{
	__u64 cookie = bpf_get_socket_cookie(c);
	__u64 cgroup = own_cgroup();
	bpf_map_update_elem(&owners, &cookie, &cgroup, BPF_ANY);
	return 1;
}

/* The mark of a socket that is being bound; 0: the kernel has no memory for it. */
static __always_inline struct mark *claim(struct bpf_sock_addr *c)
{
	FRESH(c);
	struct bpf_sock *sk = c->sk;
	if (!sk)
		return 0;
	struct mark *mark = bpf_sk_storage_get(&sockets, sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
	if (mark)
		mark->cgroup = own_cgroup();
	return mark;
}

SEC("cgroup/sock_create")
int sock_create(struct bpf_sock *c)
{
	struct dyno *dyno = self();
	if (!dyno)
		return fail(EPERM);
	FRESH(c);
	__u32 type = c->type;
	FRESH(c);
	__u32 protocol = c->protocol;
	FRESH(c);
	__u32 family = c->family;
	if ((type == SOCK_STREAM && protocol == IPPROTO_TCP) ||
	    (type == SOCK_DGRAM && protocol == IPPROTO_UDP))
		return remember(c);
	struct refusal what = {
		.cgroup = own_cgroup(), .hook = HOOK_SOCKET, .family = family == AF_INET ? 4 : 6,
		.port = protocol, .error = EACCES,
	};
	note(dyno, &what);
	return fail(EACCES);
}

/* For dynos with a net namespace of their own: the listen event needs to know whose socket it is. */
SEC("cgroup/sock_create")
int sock_remember(struct bpf_sock *c)
{
	return remember(c);
}

SEC("cgroup/bind4")
int bind4_remember(struct bpf_sock_addr *c)
{
	claim(c);
	return 1;
}

SEC("cgroup/bind6")
int bind6_remember(struct bpf_sock_addr *c)
{
	claim(c);
	return 1;
}

/* bind() cannot ask whether a socket is for IPv6 alone, so setsockopt() writes it down. */
SEC("cgroup/setsockopt")
int setsockopt(struct bpf_sockopt *c)
{
	FRESH(c);
	__s32 level = c->level;
	FRESH(c);
	__s32 name = c->optname;
	if (level == IPPROTO_IPV6 && name == IPV6_V6ONLY) {
		FRESH(c);
		__s32 *value = c->optval;
		FRESH(c);
		void *end = c->optval_end;
		FRESH(c);
		struct bpf_sock *sk = c->sk;
		if (sk && (void *)(value + 1) <= end) {
			struct mark *mark =
				bpf_sk_storage_get(&sockets, sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
			if (mark)
				mark->is_v6only = *value != 0;
		}
	}
	FRESH(c);
	c->optlen = 0; /* the kernel goes on with what the program passed, whatever its length */
	return 1;
}

/* --- bind() ----------------------------------------------------------------------------------- */

/* The address that bind() gets instead; 0: none. `port` in the machine's order. */
static __always_inline __be32 own_address(struct dyno *dyno, __be32 ip, __u16 port)
{
	if (ip == 0)
		return port == dyno->port || port == 0 ? dyno->addr4 : dyno->lo4;
	if (is_127(ip))
		return dyno->lo4;
	if (ip == dyno->addr4 && (port == dyno->port || port == 0))
		return dyno->addr4;
	return 0;
}

SEC("cgroup/bind4")
int bind4(struct bpf_sock_addr *c)
{
	struct dyno *dyno = self();
	if (!dyno)
		return fail(EPERM);
	FRESH(c);
	__be32 ip = c->user_ip4;
	FRESH(c);
	__u16 port = bpf_ntohs(c->user_port);
	__be32 own = own_address(dyno, ip, port);
	if (!own)
		return refuse4(dyno, HOOK_BIND, ip, port, EADDRNOTAVAIL);
	claim(c);
	FRESH(c);
	c->user_ip4 = own;
	return ALLOW_ANY_PORT;
}

static __always_inline void read6(struct bpf_sock_addr *c, __be32 *ip)
{
	FRESH(c);
	ip[0] = c->user_ip6[0];
	FRESH(c);
	ip[1] = c->user_ip6[1];
	FRESH(c);
	ip[2] = c->user_ip6[2];
	FRESH(c);
	ip[3] = c->user_ip6[3];
}

static __always_inline void write6(struct bpf_sock_addr *c, __be32 a, __be32 b, __be32 d)
{
	FRESH(c);
	c->user_ip6[0] = a;
	FRESH(c);
	c->user_ip6[1] = 0;
	FRESH(c);
	c->user_ip6[2] = b;
	FRESH(c);
	c->user_ip6[3] = d;
}

static __always_inline int is_mapped(__be32 *ip)
{
	return ip[0] == 0 && ip[1] == 0 && ip[2] == MAPPED;
}

/* :: or ::1 */
static __always_inline int is_here6(__be32 *ip, __be32 last)
{
	return ip[0] == 0 && ip[1] == 0 && ip[2] == 0 && ip[3] == last;
}

static __always_inline int is_private6(struct dyno *dyno, __be32 *ip)
{
	return ip[0] == PRIVATE6 && ip[1] == 0 && ip[2] == 0 && ip[3] == dyno->lo4;
}

static __always_inline struct mark *mark_of(struct bpf_sock_addr *c)
{
	FRESH(c);
	struct bpf_sock *sk = c->sk;
	return sk ? bpf_sk_storage_get(&sockets, sk, 0, 0) : 0;
}

SEC("cgroup/bind6")
int bind6(struct bpf_sock_addr *c)
{
	struct dyno *dyno = self();
	if (!dyno)
		return fail(EPERM);
	__be32 ip[4];
	read6(c, ip);
	FRESH(c);
	__u16 port = bpf_ntohs(c->user_port);
	int is_loopback = is_here6(ip, bpf_htonl(1)) || is_private6(dyno, ip);
	struct mark *mark = claim(c);
	/* A mapped address is refused by a socket that is for IPv6 alone. */
	if (is_here6(ip, 0) && mark && mark->is_v6only)
		is_loopback = 1;
	if (is_loopback) {
		write6(c, PRIVATE6, 0, dyno->lo4);
		return ALLOW_ANY_PORT;
	}
	__be32 own = 0;
	if (is_mapped(ip) || is_here6(ip, 0))
		own = own_address(dyno, ip[3], port);
	if (!own)
		return refuse6(dyno, HOOK_BIND, ip, port, EADDRNOTAVAIL);
	write6(c, 0, MAPPED, own);
	return ALLOW_ANY_PORT;
}

/* --- connect(), sendto() ---------------------------------------------------------------------- */

/* Whether somebody listens (or, for UDP, receives) on exactly this address. */
static __always_inline int is_open4(struct bpf_sock_addr *c, __be32 ip, __be16 port, __u32 protocol)
{
	struct bpf_sock_tuple tuple = {};
	tuple.ipv4.daddr = ip;
	tuple.ipv4.dport = port;
	struct bpf_sock *sk;
	if (protocol == IPPROTO_UDP)
		sk = bpf_sk_lookup_udp(c, &tuple, sizeof(tuple.ipv4), BPF_F_CURRENT_NETNS, 0);
	else
		sk = bpf_sk_lookup_tcp(c, &tuple, sizeof(tuple.ipv4), BPF_F_CURRENT_NETNS, 0);
	if (!sk)
		return 0;
	int is_exact = 0;
	if (sk->src_ip4 == ip)
		is_exact = 1;
	bpf_sk_release(sk);
	return is_exact;
}

static __always_inline int is_open6(struct bpf_sock_addr *c, __be32 lo4, __be16 port, __u32 protocol)
{
	struct bpf_sock_tuple tuple = {};
	tuple.ipv6.daddr[0] = PRIVATE6;
	tuple.ipv6.daddr[3] = lo4;
	tuple.ipv6.dport = port;
	struct bpf_sock *sk;
	if (protocol == IPPROTO_UDP)
		sk = bpf_sk_lookup_udp(c, &tuple, sizeof(tuple.ipv6), BPF_F_CURRENT_NETNS, 0);
	else
		sk = bpf_sk_lookup_tcp(c, &tuple, sizeof(tuple.ipv6), BPF_F_CURRENT_NETNS, 0);
	if (!sk)
		return 0;
	int is_exact = 0;
	if (sk->src_ip6[3] == lo4)
		is_exact = 1;
	bpf_sk_release(sk);
	return is_exact;
}

/* Where the dyno's own 127.0.0.1 is: at its public address when only that one listens there, which
 * is so for PORT and for whoever bound all addresses without naming a port. */
static __always_inline __be32 loopback4(struct bpf_sock_addr *c, struct dyno *dyno, __be16 port,
					__u32 protocol)
{
	if (is_open4(c, dyno->lo4, port, protocol))
		return dyno->lo4;
	if (bpf_ntohs(port) == dyno->port || is_open4(c, dyno->addr4, port, protocol))
		return dyno->addr4;
	return dyno->lo4;
}

/* The sender's address is settled here, so that it is never a neighbour's. A socket that was bound
 * before keeps its own: bpf_bind refuses then, and the law judges what comes of it. */
static __always_inline void from4(struct bpf_sock_addr *c, __be32 ip)
{
	struct { __u16 family; __be16 port; __be32 ip; __u64 zero; } from = {
		.family = AF_INET, .ip = ip,
	};
	bpf_bind(c, (struct sockaddr *)&from, sizeof(from));
}

static __always_inline void from6(struct bpf_sock_addr *c, __be32 a, __be32 b, __be32 d)
{
	struct { __u16 family; __be16 port; __be32 flow; __be32 ip[4]; __u32 scope; } from = {
		.family = AF_INET6, .ip = { a, 0, b, d },
	};
	bpf_bind(c, (struct sockaddr *)&from, sizeof(from));
}

SEC("cgroup/connect4")
int connect4(struct bpf_sock_addr *c)
{
	struct dyno *dyno = self();
	if (!dyno)
		return fail(EPERM);
	FRESH(c);
	__be32 ip = c->user_ip4;
	FRESH(c);
	__be16 port = c->user_port;
	FRESH(c);
	__u32 protocol = c->protocol;
	if (is_127(ip) || ip == 0) {
		__be32 to = loopback4(c, dyno, port, protocol);
		FRESH(c);
		c->user_ip4 = to;
		from4(c, to);
		return 1;
	}
	if (ip != dyno->addr4 && is_denied(ip, bpf_ntohs(port)))
		return refuse4(dyno, HOOK_CONNECT, ip, bpf_ntohs(port), ECONNREFUSED);
	from4(c, dyno->addr4);
	return 1;
}

SEC("cgroup/connect6")
int connect6(struct bpf_sock_addr *c)
{
	struct dyno *dyno = self();
	if (!dyno)
		return fail(EPERM);
	__be32 ip[4];
	read6(c, ip);
	FRESH(c);
	__be16 port = c->user_port;
	FRESH(c);
	__u32 protocol = c->protocol;
	int is_localhost6 = is_here6(ip, bpf_htonl(1)) || is_here6(ip, 0);
	struct mark *mark = mark_of(c);
	if (is_private6(dyno, ip) ||
	    (is_localhost6 && ((mark && mark->is_v6only) || is_open6(c, dyno->lo4, port, protocol)))) {
		write6(c, PRIVATE6, 0, dyno->lo4);
		from6(c, PRIVATE6, 0, dyno->lo4);
		return 1;
	}
	__be32 to = ip[3];
	if (is_localhost6 || (is_mapped(ip) && (is_127(to) || to == 0))) {
		if (is_localhost6 && protocol == IPPROTO_UDP) {
			mark = claim(c);
			if (mark)
				mark->asked_for_localhost6 = 1;
		}
		to = loopback4(c, dyno, port, protocol);
		write6(c, 0, MAPPED, to);
		from6(c, 0, MAPPED, to);
		return 1;
	}
	if (!is_mapped(ip)) {
		/* Nothing has a route over IPv6: trying it first is what every program does. */
		if ((ip[0] & bpf_htonl(0xe0000000)) == bpf_htonl(0x20000000))
			return fail(ENETUNREACH);
		return refuse6(dyno, HOOK_CONNECT, ip, bpf_ntohs(port), ENETUNREACH);
	}
	if (to != dyno->addr4 && is_denied(to, bpf_ntohs(port)))
		return refuse4(dyno, HOOK_CONNECT, to, bpf_ntohs(port), ECONNREFUSED);
	from6(c, 0, MAPPED, dyno->addr4);
	return 1;
}

SEC("cgroup/sendmsg4")
int sendmsg4(struct bpf_sock_addr *c)
{
	struct dyno *dyno = self();
	if (!dyno)
		return fail(EPERM);
	FRESH(c);
	__be32 ip = c->user_ip4;
	FRESH(c);
	__be16 port = c->user_port;
	FRESH(c);
	struct bpf_sock *sk = c->sk;
	__be32 from = dyno->addr4;
	if (is_127(ip) || ip == 0) {
		from = loopback4(c, dyno, port, IPPROTO_UDP);
		FRESH(c);
		c->user_ip4 = from;
	} else if (ip != dyno->addr4 && is_denied(ip, bpf_ntohs(port))) {
		return refuse4(dyno, HOOK_SEND, ip, bpf_ntohs(port), ECONNREFUSED);
	}
	/* What a bound socket is bound to, whatever IP_PKTINFO says. */
	if (sk && sk->src_ip4)
		from = sk->src_ip4;
	FRESH(c);
	c->msg_src_ip4 = from;
	return 1;
}

SEC("cgroup/sendmsg6")
int sendmsg6(struct bpf_sock_addr *c)
{
	struct dyno *dyno = self();
	if (!dyno)
		return fail(EPERM);
	__be32 ip[4];
	read6(c, ip);
	/* Mapped addresses go the way of IPv4. None may be written here (errno 524), so the private
	 * loopback is a native address. */
	if (is_mapped(ip))
		return 1;
	if (!is_here6(ip, bpf_htonl(1)) && !is_here6(ip, 0) && !is_private6(dyno, ip)) {
		FRESH(c);
		__u16 port = bpf_ntohs(c->user_port);
		return refuse6(dyno, HOOK_SEND, ip, port, ENETUNREACH);
	}
	write6(c, PRIVATE6, 0, dyno->lo4);
	FRESH(c);
	c->msg_src_ip6[0] = PRIVATE6;
	FRESH(c);
	c->msg_src_ip6[1] = 0;
	FRESH(c);
	c->msg_src_ip6[2] = 0;
	FRESH(c);
	c->msg_src_ip6[3] = dyno->lo4;
	return 1;
}

/* --- what programs are told ------------------------------------------------------------------- */

static __always_inline int tell4(struct bpf_sock_addr *c)
{
	struct dyno *dyno = self();
	if (!dyno)
		return 1;
	FRESH(c);
	if (c->user_ip4 == dyno->lo4) {
		FRESH(c);
		c->user_ip4 = LOCALHOST;
	}
	return 1;
}

static __always_inline int is_own_loopback(struct dyno *dyno, __be32 *ip)
{
	return is_private6(dyno, ip) || (is_mapped(ip) && ip[3] == dyno->lo4);
}

static __always_inline int tell6(struct bpf_sock_addr *c)
{
	struct dyno *dyno = self();
	if (!dyno)
		return 1;
	__be32 ip[4];
	read6(c, ip);
	/* What was mapped stays mapped: glibc's getaddrinfo() asks a socket that it connected to an
	 * IPv4 address, and aborts when the answer is none. */
	if (is_private6(dyno, ip))
		write6(c, 0, 0, bpf_htonl(1));
	else if (is_own_loopback(dyno, ip))
		write6(c, 0, MAPPED, LOCALHOST);
	return 1;
}

SEC("cgroup/recvmsg4")
int recvmsg4(struct bpf_sock_addr *c)
{
	return tell4(c);
}

/* The sender is told so that an answer to it finds the way back. */
SEC("cgroup/recvmsg6")
int recvmsg6(struct bpf_sock_addr *c)
{
	struct dyno *dyno = self();
	if (!dyno)
		return 1;
	__be32 ip[4];
	read6(c, ip);
	struct mark *mark = mark_of(c);
	if (is_private6(dyno, ip) || (is_own_loopback(dyno, ip) && mark && mark->asked_for_localhost6))
		write6(c, 0, 0, bpf_htonl(1));
	else if (is_own_loopback(dyno, ip))
		write6(c, 0, MAPPED, LOCALHOST);
	return 1;
}

SEC("cgroup/getpeername4")
int getpeername4(struct bpf_sock_addr *c)
{
	return tell4(c);
}

SEC("cgroup/getpeername6")
int getpeername6(struct bpf_sock_addr *c)
{
	return tell6(c);
}

SEC("cgroup/getsockname4")
int getsockname4(struct bpf_sock_addr *c)
{
	return tell4(c);
}

SEC("cgroup/getsockname6")
int getsockname6(struct bpf_sock_addr *c)
{
	return tell6(c);
}

/* --- listen() --------------------------------------------------------------------------------- */

static __always_inline int may_tell(__u64 cgroup)
{
	__u64 now = bpf_ktime_get_ns();
	struct pace *known = bpf_map_lookup_elem(&pace, &cgroup);
	if (!known) {
		struct pace first = { .since = now, .told = 1 };
		bpf_map_update_elem(&pace, &cgroup, &first, BPF_ANY);
		return 1;
	}
	if (now - known->since > SECOND_NS) {
		known->since = now;
		known->told = 0;
	}
	known->told++;
	return known->told <= LISTENS_MAX;
}

/* Comes after listen(), and cannot refuse it. */
SEC("sockops")
int listened(struct bpf_sock_ops *c)
{
	FRESH(c);
	__u32 op = c->op;
	FRESH(c);
	c->reply = -1; /* the kernel's own choice, for those that ask */
	if (op != BPF_SOCK_OPS_TCP_LISTEN_CB)
		return 1;
	FRESH(c);
	struct bpf_sock *sk = c->sk;
	if (!sk)
		return 1;
	struct mark *mark = bpf_sk_storage_get(&sockets, sk, 0, 0);
	__u64 cookie = bpf_get_socket_cookie(c);
	__u64 *owner = bpf_map_lookup_elem(&owners, &cookie);
	struct event event = { .kind = EVENT_LISTEN };
	if (mark && mark->cgroup)
		event.cgroup = mark->cgroup;
	else if (owner)
		event.cgroup = *owner;
	else
		return 1;
	FRESH(c);
	event.port = c->local_port;
	FRESH(c);
	event.family = c->family == AF_INET6 ? 6 : 4;
	if (event.family == 6) {
		FRESH(c);
		event.ip[0] = c->local_ip6[0];
		FRESH(c);
		event.ip[1] = c->local_ip6[1];
		FRESH(c);
		event.ip[2] = c->local_ip6[2];
		FRESH(c);
		event.ip[3] = c->local_ip6[3];
		event.is_unbound = is_here6(event.ip, 0);
		if (is_mapped(event.ip)) {
			event.family = 4;
			event.ip[0] = event.ip[3];
			event.ip[1] = event.ip[2] = event.ip[3] = 0;
		}
	} else {
		FRESH(c);
		event.ip[0] = c->local_ip4;
		event.is_unbound = event.ip[0] == 0;
	}
	struct dyno *dyno = bpf_map_lookup_elem(&dynos, &event.cgroup);
	if (dyno && event.family == 4 && event.ip[0] == dyno->addr4 && event.port == dyno->port)
		dyno->flags |= HAS_LISTENED;
	if (may_tell(event.cgroup))
		bpf_ringbuf_output(&events, &event, sizeof(event), 0);
	return 1;
}

/* --- the law ---------------------------------------------------------------------------------- */

#define DROP 0
#define PASS 1

struct ip_header {
	__u8 length; /* version in the high half; in words */
	__u8 service;
	__be16 total;
	__be16 id;
	__be16 fragment;
	__u8 ttl;
	__u8 protocol;
	__u16 sum;
	__be32 from;
	__be32 to;
};

struct transport {
	__be16 from;
	__be16 to;
	__be32 sequence;
	__be32 acknowledged;
	__u8 offset;
	__u8 flags;
};

static __always_inline int drop(struct dyno *dyno, __u64 cgroup, int is_in, __be32 peer, __u16 port)
{
	struct refusal what = {
		.cgroup = cgroup, .hook = is_in ? HOOK_IN : HOOK_OUT, .family = 4,
		.port = port, .error = is_in ? ETIMEDOUT : EPERM, .ip = { peer },
	};
	note(dyno, &what);
	return DROP;
}

static __always_inline int law6(struct __sk_buff *skb, struct dyno *dyno)
{
	__be32 both[8];
	if (bpf_skb_load_bytes(skb, 8, both, sizeof(both)))
		return DROP;
	return is_private6(dyno, both) && is_private6(dyno, both + 4) ? PASS : DROP;
}

/* The owner of a packet is the cgroup of its socket, not of whoever runs now. */
static __always_inline int law(struct __sk_buff *skb, int is_in)
{
	__u64 cgroup = bpf_skb_ancestor_cgroup_id(skb, LEVEL);
	struct dyno *dyno = bpf_map_lookup_elem(&dynos, &cgroup);
	if (!dyno)
		return DROP;
	if (skb->protocol == bpf_htons(ETH_P_IPV6))
		return law6(skb, dyno);
	struct ip_header ip;
	if (bpf_skb_load_bytes(skb, 0, &ip, sizeof(ip)))
		return DROP;
	__be32 mine = is_in ? ip.to : ip.from;
	__be32 peer = is_in ? ip.from : ip.to;
	/* A socket that listens on everything has caught a packet for a neighbour. */
	if (mine != dyno->addr4 && mine != dyno->lo4)
		return DROP;
	if (peer == dyno->addr4 || peer == dyno->lo4)
		return PASS;
	struct transport t = {};
	__u32 at = (ip.length & 15) * 4;
	if (ip.protocol == IPPROTO_TCP) {
		if (bpf_skb_load_bytes(skb, at, &t, 14))
			return DROP;
	} else {
		bpf_skb_load_bytes(skb, at, &t, 4); /* other protocols may be shorter: ports stay 0 */
	}
	__u16 port = bpf_ntohs(t.to);
	if (is_127(peer) || mine == dyno->lo4)
		return drop(dyno, cgroup, is_in, peer, port);
	int handshake = t.flags & (TCP_SYN | TCP_ACK);
	int opens = ip.protocol != IPPROTO_TCP || handshake == TCP_SYN;
	/* The answer to a SYN that should not have come in: each half of the law holds alone. */
	if (!is_in && ip.protocol == IPPROTO_TCP && handshake == (TCP_SYN | TCP_ACK) &&
	    bpf_ntohs(t.from) != dyno->port)
		return drop(dyno, cgroup, is_in, peer, bpf_ntohs(t.from));
	if (opens && is_in && ip.protocol == IPPROTO_TCP && port != dyno->port)
		return drop(dyno, cgroup, is_in, peer, port);
	if (opens && !is_in && is_denied(peer, port))
		return drop(dyno, cgroup, is_in, peer, port);
	if (is_in)
		__sync_fetch_and_add(&dyno->bytes_in, skb->len);
	else
		__sync_fetch_and_add(&dyno->bytes_out, skb->len);
	return PASS;
}

SEC("cgroup_skb/ingress")
int ingress(struct __sk_buff *skb)
{
	return law(skb, 1);
}

SEC("cgroup_skb/egress")
int egress(struct __sk_buff *skb)
{
	return law(skb, 0);
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
