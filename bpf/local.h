/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* What the local path's programs and userspace share, and the decisions of the
 * one that senders run. Package slot has the same layouts in Go; a test of
 * package loader compares the two by BTF. */
#pragma once

/* struct local_way is one direction of a flow whose sender is on this host. Each
 * half has one writer, and a cache line of its own for it. */
struct local_way {
	/* Written by the program, under the lock of the sender's socket. */
	__u64 redirected; /* bytes that were handed to the target */
	__u64 moved_at;	  /* CLOCK_MONOTONIC_COARSE of the last ones, in ns */
	__u64 delivered;  /* bytes that were put into the receiver's own queue */
	__u64 queued;	  /* of those, since that was last seen empty */
	__u64 unused[4];

	/* Written by userspace. */
	__u64 relayed; /* bytes that it has sent on since the sender was enrolled */
	__u64 target;  /* cookie of the gateway's socket that they go to; 0: the way is nobody's */
	__u64 credit;  /* bytes that may wait in the receiver's own queue; 0: put none there */
	/* And by sluice_enrol, when the receiver is enrolled as the sender of the other way. */
	__u64 receiver; /* where the kernel has it; 0: it is not enrolled */
	__u64 spare[4];
};

/* struct local_note is kept with a sender's socket, for as long as that lives. A
 * cookie is never given to another socket: so what outlives the flow, or belongs
 * to another one by now, leads nowhere. */
struct local_note {
	__u64 target;  /* cookie of the gateway's socket that its bytes go to */
	__u64 address; /* where the kernel has that socket */
	__u64 near;    /* cookie of the gateway's socket that it is connected to */
	__u32 base;    /* sequence number of the first byte that was not relayed yet */
	__u32 start;   /* and that which it was to have in the target's stream */
	__u32 ports;   /* of its connection, as the kernel keeps the pair */
	__u32 way;     /* index into local_ways */
};

/* struct enrolment asks for a sender to be enrolled. */
struct enrolment {
	__u32 saddr[4]; /* the gateway's end of the sender's connection, in network order; */
	__u32 daddr[4]; /* the sender's; IPv4 has the first word alone */
	__u16 sport;
	__u16 dport;
	__u32 way;
	__u64 near;   /* cookie of the gateway's end */
	__u64 target; /* cookie of its other socket; 0: only look whether the sender is here */
	__u32 v6;
	__u32 direct; /* 1: messages may be put into its own queue */
};

/* enum enrolled is what came of it; what is negative is the kernel's error. */
enum enrolled {
	ENROLLED,
	ENROLLED_ABSENT,   /* the sender is not on this host, or not in this namespace */
	ENROLLED_CLOSING,  /* it is not established */
	ENROLLED_ULP,	   /* it has another protocol on top, such as kernel TLS */
	ENROLLED_ZEROCOPY, /* it waits for notices that the kernel would not send */
	ENROLLED_UNACCEPTED, /* no process has it yet */
	ENROLLED_BLOCKING, /* its process may be woken from recv() without a reason */
	ENROLLED_SEQUENCE, /* the two ends do not agree about what was sent */
	ENROLLED_NO_OWN,   /* a socket of the gateway is not in the map */
	ENROLLED_REASONS,
};

/* enum local_reason is what became of a message, and why. */
enum local_reason {
	LOCAL_REDIRECTED,
	LOCAL_UNKNOWN, /* the way is another flow's by now, or nobody's */
	LOCAL_ULP,     /* kernel TLS has yet to encrypt it */
	LOCAL_BEHIND,  /* others before it went over TCP, and are not relayed yet */
	LOCAL_GONE,    /* the target is closed, or has ended its stream */
	LOCAL_FOREIGN, /* somebody else's program has what is sent on the target */
	LOCAL_NO_ROOM, /* it does not fit the target's send buffer */
	LOCAL_REFUSED, /* the kernel would not redirect it */
	LOCAL_DELIVERED, /* it went into the receiver's own queue */
	LOCAL_REASONS,
};

/* struct sender is what is known of the socket that a message was given to. */
struct sender {
	__u32 write_seq; /* of what went over TCP only: what is redirected does not count */
	__u32 ports;
	__u32 ulp;
};

/* struct target is what is known of the one it is to go to. */
struct target {
	__u64 cookie;
	__u32 write_seq;
	__u32 state;
	__s32 room; /* bytes of memory left in its send buffer */
	__u32 foreign; /* somebody else's program has what is sent on it */
};

/* struct receiver is what is known of the socket that the target is connected to. */
struct receiver {
	__u32 rcv_nxt;	  /* sequence number of the next byte to come by TCP */
	__u32 copied_seq; /* of the first that its process has not read */
	__u32 state;
	__u32 shutdown;
	__u32 ulp;
	__u32 queue; /* enum queue */
};

/* enum queue is what waits in the queue that messages are put into, past TCP. */
enum queue {
	QUEUE_NONE, /* there is no such queue */
	QUEUE_EMPTY,
	QUEUE_FILLED,
};

/* What the kernel may add to the memory of a message's bytes when it queues them:
 * a page that is used in part at either end, and a packet's own. */
#define LOCAL_OVERHEAD 16384

#define STATE_ESTABLISHED 1
#define STATE_FIN_WAIT1 4
#define STATE_FIN_WAIT2 5
#define STATE_CLOSE_WAIT 8

#define SHUTDOWN_RECEIVE 1

/* choose_local says whether a message may overtake the gateway. All that its sender
 * has ever sent must be in the target's write queue: userspace counts what it has
 * relayed after it has written it, so that when the count has come up to the
 * sender's sequence number, the bytes before were acknowledged, read and relayed,
 * and none is on its way. What was redirected is in that queue since the call that
 * sent it. */
static __always_inline enum local_reason choose_local(const struct local_way *w,
						      const struct local_note *n,
						      const struct sender *s,
						      const struct target *t, __u32 len)
{
	if (n->target == 0 || w->target != n->target || s->ports != n->ports)
		return LOCAL_UNKNOWN;
	if (s->ulp)
		return LOCAL_ULP;
	if (s->write_seq != n->base + (__u32)w->relayed)
		return LOCAL_BEHIND;
	if (t->cookie != n->target ||
	    (t->state != STATE_ESTABLISHED && t->state != STATE_CLOSE_WAIT))
		return LOCAL_GONE;
	/* Then the bytes that were relayed may not be in its write queue. */
	if (t->foreign)
		return LOCAL_FOREIGN;
	/* A sender that does not block would be told to try again, and to wait for
	 * room in its own socket, which has plenty: over TCP it is told right. */
	if (t->room <= 0 || (__u64)len + LOCAL_OVERHEAD > (__u32)t->room)
		return LOCAL_NO_ROOM;
	return LOCAL_REDIRECTED;
}

/* may_deliver says whether a message that may overtake the gateway may go on, into the
 * receiver's own queue, given the target's sequence number. The receiver reads that
 * queue first, and TCP's when it is empty. So nothing must be left of what went over
 * TCP before the message: the receiver has got all that the target was ever given, and
 * read it. What goes over TCP after the message is read after it. The queue has no limit
 * of its own in most kernels. What waits in it is not known either; what was put there
 * since it was last seen empty is no less. */
static __always_inline int may_deliver(const struct local_way *w, const struct receiver *r,
				       __u32 write_seq, __u32 len)
{
	__u64 waiting = r->queue == QUEUE_EMPTY ? 0 : w->queued;

	if (r->queue == QUEUE_NONE)
		return 0;
	if (r->state != STATE_ESTABLISHED && r->state != STATE_FIN_WAIT1 &&
	    r->state != STATE_FIN_WAIT2)
		return 0;
	if (r->shutdown & SHUTDOWN_RECEIVE || r->ulp)
		return 0;
	if (r->rcv_nxt != write_seq || r->copied_seq != r->rcv_nxt)
		return 0;
	return waiting + len <= w->credit;
}

/* settle corrects the count of redirected bytes, which are counted before the kernel
 * writes them: it may have had no memory for some, of which the sender was told. It is
 * for a message that is not behind, when all that was relayed, and all that was
 * redirected, is in the target's write queue: the one that the sender tries again with
 * is such a message, whether there is room for it or not. */
static __always_inline void settle(struct local_way *w, const struct local_note *n,
				   const struct target *t)
{
	__u32 redirected = t->write_seq - n->start - (__u32)w->relayed;

	w->redirected += (__s32)(redirected - (__u32)w->redirected);
}

/* agree tells whether what the sender says of its stream and what the gateway's end
 * has received fit together, as they do unless something in between changes
 * sequence numbers. */
static __always_inline int agree(__u32 snd_una, __u32 write_seq, __u32 rcv_nxt)
{
	return (__s32)(rcv_nxt - snd_una) >= 0 && (__s32)(write_seq - rcv_nxt) >= 0;
}
