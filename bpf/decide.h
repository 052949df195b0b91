/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* The verdict's decisions, apart from the helpers that carry them out:
 * sockmap_test.c runs them on made-up input, which the kernel cannot do with
 * the verdict itself. All sequence numbers wrap. */
#pragma once

/* struct piece is a stretch of a stream, as the kernel hands it over. */
struct piece {
	__u32 seq;
	__u32 end; /* of the sequence numbers it covers: an end of stream counts one */
	__u32 len; /* bytes */
};

/* struct far is what is known of the socket that a piece goes to. */
struct far {
	__u32 found;
	__u32 write_seq;
	__u32 snd_una;
	__s32 room; /* bytes of memory left in its send buffer */
	__u32 foreign; /* somebody else's program has what is sent on it */
};

/* What the kernel adds to the memory of a packet's bytes when it queues them for
 * sending: a packet of its own for each 32 KiB, or for fewer. */
#define SKB_OVERHEAD 16384

/* seq_after tells whether a lies after b. */
static __always_inline int seq_after(__u32 a, __u32 b)
{
	return (__s32)(a - b) > 0;
}

/* check_order finds the place of a piece in its way. It returns
 * REASON_REDIRECTED for one that may go on, with *trim bytes to cut off its
 * head first: the kernel hands over retransmissions that overlap what it has
 * handed over already, and the first piece may have been read in part. */
static __always_inline enum reason check_order(const struct way *w, const struct piece *p,
					       __u32 *trim)
{
	__u32 covers = p->end - p->seq;

	*trim = 0;
	if (w->marks & MARK_BROKEN)
		return REASON_BROKEN;
	if (covers != p->len && covers != p->len + 1)
		return REASON_MALFORMED;
	if (seq_after(p->seq, w->next))
		return REASON_GAP;
	if (p->len == 0)
		return REASON_EMPTY;
	*trim = w->next - p->seq;
	if (*trim >= p->len) {
		*trim = p->len;
		return REASON_DUPLICATE;
	}
	return REASON_REDIRECTED;
}

/* ends tells whether the stream ends with the piece. */
static __always_inline int ends(const struct piece *p)
{
	return p->end - p->seq == p->len + 1;
}

/* granted is the credit of a way under its policy. */
static __always_inline __u32 granted(const struct way *w, const struct policy *own,
				     const struct policy *all)
{
	__u32 credit = own->credit ? own->credit : all->credit;

	return credit < w->credit ? credit : w->credit;
}

/* switched_off tells whether the policies forbid to redirect. */
static __always_inline int switched_off(const struct policy *own, const struct policy *all)
{
	return own->rule == RULE_OFF || all->rule == RULE_OFF;
}

/* outstanding is how many of the way's bytes its receiver has not acknowledged:
 * those not yet in the peer's write queue count too. */
static __always_inline __u32 outstanding(const struct way *w, const struct far *far)
{
	__u32 first = w->marks & MARK_BASED ? w->base : far->write_seq;
	__u32 moved = w->marks & MARK_BASED ? w->redirected + w->passed : 0;

	return first + moved - far->snd_una;
}

/* fits tells whether the peer's send buffer will take a piece at once, after what
 * is queued for it already. What does not fit waits in a queue before that buffer,
 * in which the bytes that the peer's own way passes to userspace get stuck behind
 * it: two streams that should not know of each other would wait for each other. */
static __always_inline int fits(const struct way *w, const struct far *far, __u32 len)
{
	__u32 first = w->marks & MARK_BASED ? w->base : far->write_seq;
	__u32 moved = w->marks & MARK_BASED ? w->redirected + w->passed : 0;
	__u32 waiting = first + moved - far->write_seq;

	return far->room > 0 && (__u64)waiting + len + SKB_OVERHEAD <= (__u32)far->room;
}

/* choose says whether a piece in order is redirected, or else why it is passed. */
static __always_inline enum reason choose(const struct way *w, const struct policy *own,
					  const struct policy *all, const struct far *far,
					  __u32 len)
{
	if (w->mode != MODE_REDIRECT)
		return REASON_HELD;
	if (switched_off(own, all))
		return REASON_OFF;
	/* Overtaking those that userspace still has would garble the stream. */
	if (w->passed != w->drained)
		return REASON_BEHIND;
	if (!far->found)
		return REASON_NO_PEER;
	/* What is redirected would be sent on it, and never get to its write queue. */
	if (far->foreign)
		return REASON_FOREIGN;
	/* The kernel itself has no limit to what it queues for the peer. */
	if (outstanding(w, far) >= granted(w, own, all))
		return REASON_CREDIT;
	if (!fits(w, far, len))
		return REASON_NO_ROOM;
	return REASON_REDIRECTED;
}

/* set_base remembers where in the peer's sequence numbers the way begins. All
 * that the way has moved so far must be in the peer's write queue, as it is
 * before the first redirect. */
static __always_inline void set_base(struct way *w, const struct far *far)
{
	if (w->marks & MARK_BASED)
		return;
	w->base = far->write_seq - (__u32)(w->redirected + w->passed);
	w->marks |= MARK_BASED;
}

/* take_back turns a piece counted as redirected into one passed. */
static __always_inline void take_back(struct way *w, __u32 len)
{
	w->redirected -= len;
}

/* count_passed counts bytes left to userspace. It returns whether userspace has
 * to be told: whether it had sent on all that was passed before. The addition is
 * a full barrier: either userspace, which looks at passed after it has written
 * drained, sees these bytes, or its write is seen here. */
static __always_inline int count_passed(struct way *w, __u32 len)
{
	__u64 before = __sync_fetch_and_add(&w->passed, len);

	return before == *(volatile __u64 *)&w->drained;
}
