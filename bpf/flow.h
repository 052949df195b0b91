/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* What the verdict and userspace share about a flow. Package slot has the same
 * layouts in Go; a test of package loader compares the two by BTF. */
#pragma once

/* A change to anything in this file needs a new number: userspace keeps its
 * hands off maps of another one. */
#define SLUICE_ABI 3
#define SLUICE_MAGIC 0x656369756c73ULL /* "sluice" */

/* struct identity begins the one frozen map; it never changes its layout. */
struct identity {
	__u64 magic;
	__u32 abi;
	__u32 unused;
};

/* enum mode is what userspace allows on a way. */
enum mode {
	MODE_FREE,     /* the slot is nobody's */
	MODE_HOLD,     /* leave all bytes to userspace */
	MODE_REDIRECT, /* move them to the peer */
};

/* enum mark is what the verdict has seen on a way. */
enum mark {
	MARK_SEEN = 1,   /* next is set */
	MARK_BASED = 2,  /* base is set */
	MARK_FIN = 4,    /* the source has ended, and all before was counted */
	MARK_BROKEN = 8, /* bytes are missing: the flow must be reset */
};

/* struct way is one direction of a flow: the bytes that arrive on one of its
 * sockets. Each half has one writer, and a cache line of its own for it. */
struct way {
	/* Written by the verdict, under the lock of the source's socket. */
	__u64 redirected; /* bytes put on the peer's queue */
	__u64 passed;	  /* bytes left for userspace to read */
	__u64 moved_at;	  /* CLOCK_MONOTONIC_COARSE of the last ones, in ns */
	__u32 next;	  /* sequence number expected next from the source */
	__u32 base;	  /* the peer's sequence number of the way's first byte */
	__u32 marks;
	__u32 unused[7];

	/* Written by userspace. */
	__u64 drained; /* of the passed bytes, those sent on to the peer */
	__u64 peer;    /* cookie of the other socket */
	__u32 mode;
	__u32 route;  /* index into policies */
	__u32 ring;   /* index into rings: the worker that owns the flow */
	__u32 credit; /* the most that policies can grant this flow, in bytes */
	__u32 traffic; /* index into route_traffic; 0: nowhere */
	__u32 spare[7];
};

/* enum rule is what a policy says about its route. */
enum rule {
	RULE_DEFAULT, /* as policy 0 has it */
	RULE_ON,
	RULE_OFF, /* in policy 0 it is for all routes, whatever they say */
};

/* struct policy is a route's setting. Policy 0 is everybody's default. */
struct policy {
	__u32 rule;
	__u32 credit; /* bytes on their way to a receiver; 0: as policy 0 has it */
};

/* enum event is what userspace is told of, once per change. */
enum event_kind {
	EVENT_PASSED = 1, /* bytes wait for userspace, where none did before */
	EVENT_BROKEN = 2,
};

struct event {
	__u32 way; /* index into ways */
	__u32 kind;
};

/* enum reason is what became of a piece of stream, and why. */
enum reason {
	REASON_REDIRECTED,
	REASON_UNKNOWN,	    /* passed: a socket without a way */
	REASON_HELD,	    /* passed: as userspace wants it */
	REASON_OFF,	    /* passed: as the policy wants it */
	REASON_BEHIND,	    /* passed: others before it were, and are not drained yet */
	REASON_NO_PEER,	    /* passed: the peer is not in the map */
	REASON_FOREIGN,	    /* passed: somebody else's program has what is sent on the peer */
	REASON_CREDIT,	    /* passed: enough is on its way to the receiver */
	REASON_NO_ROOM,	    /* passed: it does not fit the peer's send buffer */
	REASON_REFUSED,	    /* passed: the kernel would not redirect it */
	REASON_EMPTY,	    /* dropped: it had no bytes, only an end */
	REASON_OVERLAP,	    /* its head had been there before, and was cut off */
	REASON_DUPLICATE,   /* dropped: all of it had been there before */
	REASON_GAP,	    /* dropped: bytes before it are missing */
	REASON_MALFORMED,   /* dropped: its sequence numbers do not fit its length */
	REASON_UNTRIMMED,   /* dropped: no memory to cut its head off */
	REASON_BROKEN,	    /* dropped: the way was broken before */
	REASON_EVENT_LOST,  /* an event found its ring full */
	REASONS,
};
