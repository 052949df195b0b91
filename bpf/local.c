// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/* The local path: what a process on the gateway's own host sends into a flow goes
 * straight into the write queue of the gateway's other socket.
 *
 * sluice_send runs for each message that a sender gives to its socket. It touches
 * the sender's socket in nothing else: what the sender receives comes by TCP as
 * ever, and so does all that it sends while sluice_send lets it pass.
 *
 * Where both ends of a flow are on this host, and userspace grants it, the message goes
 * further still, into the other process's own queue.
 *
 * sluice_enrol is run by userspace, for a flow that it has both sockets of. It finds
 * the sender by the addresses of the connection that the two share, and so never
 * anybody else's socket, nor one in another network namespace. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>

#include "kernel.h"
#include "local.h"
#include "psock.h"

/* O_NONBLOCK, but on alpha, mips and sparc. */
#define NONBLOCK 04000

char LICENSE[] SEC("license") = "Dual BSD/GPL";

const struct {
	enum local_reason *local_reason;
	enum enrolled *enrolled;
} *unused_enums __attribute__((unused));
const struct enrolment *unused_enrolment __attribute__((unused));

/* senders has the sockets of other processes, by the cookie of their target. */
struct {
	__uint(type, BPF_MAP_TYPE_SOCKHASH);
	__uint(max_entries, 2);
	__type(key, __u64);
	__type(value, __u64);
} senders SEC(".maps");

/* receivers has those of the same whose own queues messages may be put into. A socket in it
 * keeps sluice_send, which keeps the map, and so all of this stays, when userspace is
 * gone, until these sockets are closed. Their connections went with userspace. */
struct {
	__uint(type, BPF_MAP_TYPE_SOCKHASH);
	__uint(max_entries, 2);
	__type(key, __u64);
	__type(value, __u64);
} receivers SEC(".maps");

/* targets has the gateway's, by their own. */
struct {
	__uint(type, BPF_MAP_TYPE_SOCKHASH);
	__uint(max_entries, 2);
	__type(key, __u64);
	__type(value, __u64);
} targets SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct local_note);
} notes SEC(".maps");

/* local_ways is mapped by userspace. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 2);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct local_way);
} local_ways SEC(".maps");

/* messages counts them by enum local_reason. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, LOCAL_REASONS);
	__type(key, __u32);
	__type(value, __u64);
} messages SEC(".maps");

static __always_inline void count(enum local_reason why)
{
	__u32 key = why;
	__u64 *n = bpf_map_lookup_elem(&messages, &key);

	if (n)
		(*n)++;
}

/* look_at_target reads from an address: this kind of program cannot give back a socket
 * that it has looked up. The memory of a TCP socket stays one's when it is freed, and
 * the cookie, read last, tells whose it is. */
static __always_inline void look_at_target(__u64 address, struct target *t)
{
	struct sock *sk = (void *)(long)address;

	t->state = BPF_CORE_READ(sk, __sk_common.skc_state);
	t->write_seq = BPF_CORE_READ((struct tcp_sock *)sk, write_seq);
	t->room = BPF_CORE_READ(sk, sk_sndbuf) - BPF_CORE_READ(sk, sk_wmem_queued);
	t->foreign = sends_elsewhere(BPF_CORE_READ(sk, sk_user_data));
	t->cookie = BPF_CORE_READ(sk, __sk_common.skc_cookie.counter);
}

/* look_at_queue tells what waits where messages are put, past TCP. */
static __always_inline enum queue look_at_queue(struct sock *sk)
{
	struct sk_psock *psock = psock_of(BPF_CORE_READ(sk, sk_user_data));
	struct list_head *first;

	if (!psock)
		return QUEUE_NONE;
	first = BPF_CORE_READ(psock, ingress_msg.next);
	if (!first)
		return QUEUE_NONE;
	return first == &psock->ingress_msg ? QUEUE_EMPTY : QUEUE_FILLED;
}

/* look_at_receiver reads from an address, too. It needs no cookie: when the receiver is
 * closed, it is in no map any more, and nothing is put into its queue whatever was read. */
static __always_inline void look_at_receiver(__u64 address, struct receiver *r)
{
	struct sock *sk = (void *)(long)address;
	struct tcp_sock *tcp = (void *)sk;

	r->queue = look_at_queue(sk);
	r->state = BPF_CORE_READ(sk, __sk_common.skc_state);
	r->shutdown = BPF_CORE_READ(sk, sk_shutdown);
	r->ulp = BPF_CORE_READ(tcp, inet_conn.icsk_ulp_ops) != NULL;
	r->copied_seq = BPF_CORE_READ(tcp, copied_seq);
	r->rcv_nxt = BPF_CORE_READ(tcp, rcv_nxt);
}

/* deliver puts a message that may overtake the gateway into the receiver's own queue. */
static __always_inline int deliver(struct sk_msg_md *msg, const struct local_note *n,
				   struct local_way *w, const struct target *t)
{
	struct receiver r = {};
	__u64 key = n->near; /* the target of what the receiver sends */

	if (!w->credit || !w->receiver)
		return 0;
	look_at_receiver(w->receiver, &r);
	if (!may_deliver(w, &r, t->write_seq, msg->size))
		return 0;
	if (bpf_msg_redirect_hash(msg, &receivers, &key, BPF_F_INGRESS) != SK_PASS)
		return 0;
	w->queued = (r.queue == QUEUE_EMPTY ? 0 : w->queued) + msg->size;
	w->delivered += msg->size;
	w->moved_at = bpf_ktime_get_coarse_ns();
	return 1;
}

static __always_inline enum local_reason forward(struct sk_msg_md *msg, struct local_note *n,
						 struct local_way *w, struct tcp_sock *tcp)
{
	struct inet_connection_sock *conn = &tcp->inet_conn;
	struct sender s = {
		.write_seq = tcp->write_seq,
		.ports = conn->icsk_inet.sk.__sk_common.skc_portpair,
		.ulp = conn->icsk_ulp_ops != NULL,
	};
	struct target t = {};
	__u64 key = n->target;
	enum local_reason why;

	look_at_target(n->address, &t);
	why = choose_local(w, n, &s, &t, msg->size);
	if (why == LOCAL_REDIRECTED || why == LOCAL_NO_ROOM)
		settle(w, n, &t);
	if (why != LOCAL_REDIRECTED)
		return why;
	if (deliver(msg, n, w, &t))
		return LOCAL_DELIVERED;
	if (bpf_msg_redirect_hash(msg, &targets, &key, 0) != SK_PASS)
		return LOCAL_REFUSED;
	w->redirected += msg->size;
	w->moved_at = bpf_ktime_get_coarse_ns();
	return LOCAL_REDIRECTED;
}

SEC("sk_msg")
int sluice_send(struct sk_msg_md *msg)
{
	struct bpf_sock *sk = msg->sk;
	struct local_note *n;
	struct local_way *w;
	struct tcp_sock *tcp;
	__u32 way;

	if (!sk)
		return SK_PASS;
	n = bpf_sk_storage_get(&notes, sk, NULL, 0);
	if (!n)
		return SK_PASS;
	way = n->way;
	w = bpf_map_lookup_elem(&local_ways, &way);
	tcp = bpf_skc_to_tcp_sock(sk);
	if (w && tcp)
		count(forward(msg, n, w, tcp));
	return SK_PASS;
}

/* fit tells what speaks against a sender. */
static __always_inline enum enrolled fit(struct tcp_sock *tcp, __u32 rcv_nxt)
{
	struct sock *sk = &tcp->inet_conn.icsk_inet.sk;
	struct file *file;

	if (sk->__sk_common.skc_state != STATE_ESTABLISHED)
		return ENROLLED_CLOSING;
	if (tcp->inet_conn.icsk_ulp_ops)
		return ENROLLED_ULP;
	if (sk->__sk_common.skc_flags & 1UL << bpf_core_enum_value(enum sock_flags, SOCK_ZEROCOPY))
		return ENROLLED_ZEROCOPY;
	file = BPF_CORE_READ(sk, sk_socket, file);
	if (!file)
		return ENROLLED_UNACCEPTED;
	if (!(BPF_CORE_READ(file, f_flags) & NONBLOCK))
		return ENROLLED_BLOCKING;
	if (!agree(tcp->snd_una, tcp->write_seq, rcv_nxt))
		return ENROLLED_SEQUENCE;
	return ENROLLED;
}

/* look_near reads what the gateway's end of the connection has received and read. */
static __always_inline int look_near(__u64 cookie, __u32 *rcv_nxt, __u32 *copied_seq)
{
	struct bpf_sock *sk = bpf_map_lookup_elem(&targets, &cookie);
	struct tcp_sock *tcp;

	if (!sk)
		return -1;
	tcp = bpf_skc_to_tcp_sock(sk);
	if (tcp) {
		*rcv_nxt = tcp->rcv_nxt;
		*copied_seq = tcp->copied_seq;
	}
	bpf_sk_release(sk);
	return tcp ? 0 : -1;
}

/* note_target reads where the target is, and how far it has come. */
static __always_inline int note_target(struct local_note *n)
{
	__u64 cookie = n->target;
	struct bpf_sock *sk = bpf_map_lookup_elem(&targets, &cookie);
	struct tcp_sock *tcp;

	if (!sk)
		return -1;
	tcp = bpf_skc_to_tcp_sock(sk);
	if (tcp) {
		n->address = (__u64)(long)tcp;
		n->start = tcp->write_seq;
	}
	bpf_sk_release(sk);
	return tcp ? 0 : -1;
}

static __always_inline struct bpf_sock *find(struct __sk_buff *skb, const struct enrolment *e)
{
	struct bpf_sock_tuple t = {};

	if (e->v6) {
		__builtin_memcpy(t.ipv6.saddr, e->saddr, sizeof(e->saddr));
		__builtin_memcpy(t.ipv6.daddr, e->daddr, sizeof(e->daddr));
		t.ipv6.sport = e->sport;
		t.ipv6.dport = e->dport;
		return bpf_sk_lookup_tcp(skb, &t, sizeof(t.ipv6), BPF_F_CURRENT_NETNS, 0);
	}
	t.ipv4.saddr = e->saddr[0];
	t.ipv4.daddr = e->daddr[0];
	t.ipv4.sport = e->sport;
	t.ipv4.dport = e->dport;
	return bpf_sk_lookup_tcp(skb, &t, sizeof(t.ipv4), BPF_F_CURRENT_NETNS, 0);
}

/* make_receiver lets the other way's sender put messages into this one's queue, if that
 * is granted. */
static __always_inline void make_receiver(struct bpf_sock *sk, const struct tcp_sock *tcp,
					  const struct enrolment *e)
{
	__u32 way = e->way ^ 1;
	__u64 key = e->target;
	struct local_way *w = bpf_map_lookup_elem(&local_ways, &way);

	if (w && e->direct && !bpf_map_update_elem(&receivers, &key, sk, BPF_NOEXIST))
		w->receiver = (__u64)(long)tcp;
}

/* enrol_found notes where a sender's bytes go, and has the kernel show them to
 * sluice_send. */
static __always_inline int enrol_found(struct bpf_sock *sk, const struct enrolment *e)
{
	struct tcp_sock *tcp = bpf_skc_to_tcp_sock(sk);
	struct local_note *n, note = { .target = e->target, .near = e->near, .way = e->way };
	__u64 key = e->target;
	__u32 rcv_nxt = 0;
	int why, err;

	if (!tcp)
		return ENROLLED_ABSENT;
	/* Somebody else's map has it, another gateway's on this host perhaps, whose bytes
	 * the kernel may move in other ways than by its sending. */
	if (psock_of(tcp->inet_conn.icsk_inet.sk.sk_user_data))
		return -16; /* EBUSY */
	if (look_near(e->near, &rcv_nxt, &note.base))
		return ENROLLED_NO_OWN;
	why = fit(tcp, rcv_nxt);
	if (why)
		return why;
	note.ports = tcp->inet_conn.icsk_inet.sk.__sk_common.skc_portpair;
	if (note_target(&note))
		return ENROLLED_NO_OWN;
	n = bpf_sk_storage_get(&notes, sk, NULL, BPF_SK_STORAGE_GET_F_CREATE);
	if (!n)
		return -12; /* ENOMEM */
	*n = note;
	err = bpf_map_update_elem(&senders, &key, sk, BPF_NOEXIST);
	if (!err)
		make_receiver(sk, tcp, e);
	return err;
}

SEC("tc")
int sluice_enrol(struct __sk_buff *skb)
{
	struct enrolment *in = (void *)(long)skb->data, e;
	struct bpf_sock *sk;
	int why = ENROLLED_ABSENT;

	if ((void *)(in + 1) > (void *)(long)skb->data_end)
		return -22; /* EINVAL */
	e = *in;
	sk = find(skb, &e);
	if (!sk)
		return why;
	/* The lookup ends at listeners when there is no connection. */
	if (sk->state != BPF_TCP_LISTEN)
		why = e.target ? enrol_found(sk, &e) : ENROLLED;
	bpf_sk_release(sk);
	return why;
}

/* sluice_unread tells whether something waits in the own queue of a receiver, the packet
 * being its key. */
SEC("tc")
int sluice_unread(struct __sk_buff *skb)
{
	__u64 *in = (void *)(long)skb->data, key;
	struct bpf_sock *sk;
	struct tcp_sock *tcp;
	int unread = 0;

	if ((void *)(in + 1) > (void *)(long)skb->data_end)
		return -22; /* EINVAL */
	key = *in;
	sk = bpf_map_lookup_elem(&receivers, &key);
	if (!sk)
		return 0;
	tcp = bpf_skc_to_tcp_sock(sk);
	if (tcp)
		unread = look_at_queue((struct sock *)tcp) == QUEUE_FILLED;
	bpf_sk_release(sk);
	return unread;
}
