// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/* The maps of the routing table: table.h has what is in them. They have no program
 * of their own. The loader sets their sizes. All but the two arrays and meta take
 * memory for what is in them, not for what could be. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "flow.h"
#include "table.h"
#include "traffic.h"

/* Who made these maps. */
const volatile struct identity table_identity SEC(".rodata.identity") = {
	.magic = TABLE_MAGIC,
	.abi = TABLE_ABI,
};

/* Types for userspace which the maps do not name. */
const struct {
	enum table_end *end;
	enum table_state *state;
	enum table_policy *policy;
	enum table_discovery *discovery;
	enum table_health *health;
} *unused_enums __attribute__((unused));

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, 1);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct route_key);
	__type(value, struct route_record);
} routes SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u32);
	__type(value, struct cluster_record);
} clusters SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct endpoint_key);
	__type(value, struct endpoint_record);
} endpoints SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct text_key);
	__type(value, struct text_record);
} texts SEC(".maps");

/* policy is by the route's id. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u32);
	__type(value, struct route_policy);
} policy SEC(".maps");

/* route_stats is by the route's id; 0 has the flows of routes that are not in these
 * maps. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct route_stats);
} route_stats SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct table_meta);
} meta SEC(".maps");
