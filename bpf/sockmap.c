// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/* The verdict of the sockmap path: it moves the bytes that arrive on one socket
 * of a flow to the other one, or leaves them to userspace.
 *
 * It runs for each piece of stream that a socket in the map has received, in
 * order, under the lock of that socket. What it redirects the kernel queues for
 * the peer, without limit and without a way back: so it keeps count, stops when
 * enough is on its way, and goes on only once userspace has sent on what it was
 * left. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>

#include "flow.h"
#include "kernel.h"
#include "psock.h"
#include "maps.h"
#include "traffic.h"
#include "decide.h"

/* How much bpf_skb_adjust_room() can cut off at a time, and how often that is
 * done: enough for the largest packet there is (512 KiB, with BIG TCP). */
#define TRIM_MOST 4095
#define TRIM_TURNS 129

/* Who made these maps: userspace looks here before it touches any. */
const volatile struct identity sluice_identity SEC(".rodata.identity") = {
	.magic = SLUICE_MAGIC,
	.abi = SLUICE_ABI,
};

char LICENSE[] SEC("license") = "Dual BSD/GPL";

/* Types for userspace which the program itself does not name in its maps. */
const struct event *unused_event __attribute__((unused));
const struct {
	enum event_kind *event_kind;
	enum mark *mark;
	enum mode *mode;
	enum reason *reason;
	enum rule *rule;
} *unused_enums __attribute__((unused));

static __always_inline void count(enum reason why)
{
	__u32 key = why;
	__u64 *n = bpf_map_lookup_elem(&counters, &key);

	if (n)
		(*n)++;
}

static __always_inline void tell(const struct way *w, __u32 index, enum event_kind kind)
{
	struct event e = { .way = index, .kind = kind };
	__u32 ring = w->ring;
	void *events = bpf_map_lookup_elem(&rings, &ring);

	if (!events || bpf_ringbuf_output(events, &e, sizeof(e), 0))
		count(REASON_EVENT_LOST);
}

/* struct trimming is the state of trim_head's loop. */
struct trimming {
	struct __sk_buff *skb;
	__u32 surplus;
	int err;
};

static long trim_some(__u32 turn __attribute__((unused)), struct trimming *t)
{
	__u32 cut = t->surplus < TRIM_MOST ? t->surplus : TRIM_MOST;

	t->err = bpf_skb_adjust_room(t->skb, -(__s32)cut, 0, 0);
	t->surplus -= cut;
	return t->err || !t->surplus;
}

/* trim_head cuts bytes off the head of a piece. A loop of the program's own the
 * kernel would verify turn by turn, at each start: 0.4 s. */
static __always_inline int trim_head(struct __sk_buff *skb, __u32 surplus)
{
	struct trimming t = { .skb = skb, .surplus = surplus };

	bpf_loop(TRIM_TURNS, trim_some, &t, 0);
	return t.err || t.surplus ? -1 : 0;
}

/* begin sets what a way expects first: what is not read yet. */
static __always_inline int begin(struct __sk_buff *skb, struct way *w)
{
	struct bpf_sock *sk = skb->sk;
	struct tcp_sock *tcp;

	if (w->marks & MARK_SEEN)
		return 0;
	if (!sk)
		return -1;
	tcp = bpf_skc_to_tcp_sock(sk);
	if (!tcp)
		return -1;
	w->next = tcp->copied_seq;
	w->marks |= MARK_SEEN;
	return 0;
}

/* look_far finds out about the peer. */
static __always_inline void look_far(__u64 peer, struct far *far)
{
	struct bpf_sock *sk = bpf_map_lookup_elem(&sockets, &peer);
	struct tcp_sock *tcp;

	far->found = 0;
	if (!sk)
		return;
	tcp = bpf_skc_to_tcp_sock(sk);
	if (tcp) {
		far->found = 1;
		far->write_seq = tcp->write_seq;
		far->snd_una = tcp->snd_una;
		far->room = tcp->inet_conn.icsk_inet.sk.sk_sndbuf -
			    tcp->inet_conn.icsk_inet.sk.sk_wmem_queued;
		far->foreign = sends_elsewhere(tcp->inet_conn.icsk_inet.sk.sk_user_data);
	}
	bpf_sk_release(sk);
}

/* give_up marks a way whose bytes are not all there any more. */
static __always_inline int give_up(struct way *w, __u32 index, enum reason why)
{
	count(why);
	if (!(w->marks & MARK_BROKEN)) {
		w->marks |= MARK_BROKEN;
		tell(w, index, EVENT_BROKEN);
	}
	return SK_DROP;
}

static __always_inline int pass(struct way *w, __u32 index, __u32 len, enum reason why)
{
	count(why);
	if (count_passed(w, len))
		tell(w, index, EVENT_PASSED);
	return SK_PASS;
}

/* count_traffic counts a piece for the route. Ways with an even index lead to the
 * upstream. */
static __always_inline void count_traffic(const struct way *w, __u32 index, __u32 len)
{
	struct route_traffic *t, none = {};
	__u32 id = w->traffic;

	if (!id)
		return;
	t = bpf_map_lookup_elem(&route_traffic, &id);
	if (!t) {
		bpf_map_update_elem(&route_traffic, &id, &none, BPF_NOEXIST);
		t = bpf_map_lookup_elem(&route_traffic, &id);
	}
	if (t) {
		t->pieces[index & 1]++;
		t->bytes[index & 1] += len;
	}
}

/* forward redirects a piece in order, or passes it. */
static __always_inline int forward(struct __sk_buff *skb, struct way *w, __u32 index, __u32 len)
{
	__u32 route = w->route, zero = 0;
	struct policy *all = bpf_map_lookup_elem(&policies, &zero);
	struct policy *own = bpf_map_lookup_elem(&policies, &route);
	__u64 peer = w->peer;
	struct far far = {};
	enum reason why;

	if (!all)
		return pass(w, index, len, REASON_OFF);
	if (!own)
		own = all;
	look_far(peer, &far);
	why = choose(w, own, all, &far, len);
	if (why != REASON_REDIRECTED)
		return pass(w, index, len, why);
	set_base(w, &far);
	/* Counted before it is queued: userspace takes an end for carried when as
	 * much as this is in the peer's write queue. */
	w->redirected += len;
	if (bpf_sk_redirect_hash(skb, &sockets, &peer, 0) != SK_PASS) {
		take_back(w, len);
		return pass(w, index, len, REASON_REFUSED);
	}
	count(REASON_REDIRECTED);
	count_traffic(w, index, len);
	return SK_PASS;
}

SEC("sk_skb/verdict")
int sluice_verdict(struct __sk_buff *skb)
{
	/* The kernel's own notes on the packet, which __sk_buff shows as cb; the
	 * loader checks that these two are where they are looked for. */
	struct piece p = { .seq = skb->cb[0], .end = skb->cb[1], .len = skb->len };
	__u64 cookie = bpf_get_socket_cookie(skb);
	__u32 *index = bpf_map_lookup_elem(&cookies, &cookie);
	struct way *w = index ? bpf_map_lookup_elem(&ways, index) : NULL;
	enum reason why;
	__u32 trim;

	if (!w) {
		count(REASON_UNKNOWN);
		return SK_PASS;
	}
	if (begin(skb, w))
		return give_up(w, *index, REASON_MALFORMED);
	why = check_order(w, &p, &trim);
	if (why == REASON_BROKEN) {
		count(why);
		return SK_DROP;
	}
	if (why == REASON_GAP || why == REASON_MALFORMED)
		return give_up(w, *index, why);
	if (trim) {
		/* Even of one that is dropped: the kernel takes what is left of it
		 * for read. */
		if (trim_head(skb, trim))
			return give_up(w, *index, REASON_UNTRIMMED);
		count(why == REASON_DUPLICATE ? why : REASON_OVERLAP);
	}

	int verdict = SK_DROP;
	__u32 len = p.len - trim;

	if (why == REASON_REDIRECTED) {
		w->next += len;
		w->moved_at = bpf_ktime_get_coarse_ns();
		verdict = forward(skb, w, *index, len);
	} else if (why == REASON_EMPTY) {
		/* Redirected, a piece without bytes would break the peer. */
		count(why);
	}
	/* Last, after its bytes were counted. */
	if (ends(&p))
		__sync_fetch_and_or(&w->marks, MARK_FIN);
	return verdict;
}
