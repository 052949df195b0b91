/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* What a socket has beside TCP while it is in a sockmap, be it ours or another's. */
#pragma once

#include <bpf/bpf_core_read.h>

#include "kernel.h"

/* Flags at the end of sk_user_data: that it is a struct sk_psock, and all that there may be
 * (SK_USER_DATA_PSOCK and ~SK_USER_DATA_PTRMASK of the kernel's net/sock.h). */
#define USER_DATA_PSOCK 4UL
#define USER_DATA_FLAGS 7UL

/* psock_of is a socket's, given its sk_user_data, and NULL for one in no map. */
static __always_inline struct sk_psock *psock_of(const void *user_data)
{
	unsigned long data = (unsigned long)user_data;

	return data & USER_DATA_PSOCK ? (void *)(data & ~USER_DATA_FLAGS) : NULL;
}

/* sends_elsewhere tells whether a program has what is sent on a socket, and may lead it
 * past the socket's write queue. None of ours is ever on a socket of the gateway's. */
static __always_inline int sends_elsewhere(const void *user_data)
{
	struct sk_psock *psock = psock_of(user_data);

	return psock && BPF_CORE_READ(psock, progs.msg_parser) != NULL;
}
