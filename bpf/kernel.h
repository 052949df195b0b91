/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* The few fields of the kernel's structures that are read; the loader relocates
 * them to where the running kernel has them. */
#pragma once

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct sock {
	int sk_wmem_queued; /* memory of what is queued for sending */
	int sk_sndbuf;	    /* and its limit */
	void *sk_user_data; /* of a socket in a map, struct sk_psock, with flags */
};

struct inet_sock {
	struct sock sk;
};

struct inet_connection_sock {
	struct inet_sock icsk_inet;
};

struct tcp_sock {
	struct inet_connection_sock inet_conn;
	__u32 copied_seq; /* sequence number of the first byte not read */
	__u32 write_seq;  /* that of the next byte to be queued for sending */
	__u32 snd_una;	  /* that of the first byte not acknowledged */
};

struct tcp_skb_cb {
	__u32 seq;
	__u32 end_seq;
};

#pragma clang attribute pop
