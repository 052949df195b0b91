/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* The few fields of the kernel's structures that are read; the loader relocates
 * them to where the running kernel has them. */
#pragma once

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct sock_common {
	__u32 skc_portpair;
	unsigned char skc_state;
	unsigned long skc_flags;
	struct {
		__s64 counter;
	} skc_cookie;
};

struct file {
	unsigned int f_flags;
};

struct socket {
	struct file *file;
};

struct sock {
	struct sock_common __sk_common;
	struct socket *sk_socket;
	int sk_wmem_queued; /* memory of what is queued for sending */
	int sk_sndbuf;	    /* and its limit */
	__u8 sk_shutdown;
	void *sk_user_data; /* of a socket in a map, struct sk_psock, with flags */
};

struct list_head {
	struct list_head *next;
};

struct sk_psock_progs {
	const void *msg_parser; /* the program that sees what its process sends */
};

struct sk_psock {
	struct sk_psock_progs progs;
	struct list_head ingress_msg; /* messages that were put here, past TCP */
};

struct inet_sock {
	struct sock sk;
};

struct inet_connection_sock {
	struct inet_sock icsk_inet;
	const void *icsk_ulp_ops;
};

struct tcp_sock {
	struct inet_connection_sock inet_conn;
	__u32 rcv_nxt;	  /* sequence number of the next byte to come */
	__u32 copied_seq; /* of the first byte not read */
	__u32 write_seq;  /* of the next byte to be queued for sending */
	__u32 snd_una;	  /* of the first byte not acknowledged */
};

enum sock_flags {
	SOCK_ZEROCOPY,
};

#pragma clang attribute pop
