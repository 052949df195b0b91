/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* The map that programs count routes' traffic in, for both who makes it (table.c) and
 * who counts. */
#pragma once

#include "table.h"

/* route_traffic is by the route's id. A program makes the entry that it misses: an
 * array for all routes would take 32 bytes for each of them on each processor. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(max_entries, 1);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u32);
	__type(value, struct route_traffic);
} route_traffic SEC(".maps");
