// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/* Runs the verdict's decisions on what a packet of the test describes: the
 * kernel can run a sched_cls program so, but no sk_skb program. */
#include <linux/bpf.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_helpers.h>

#include "flow.h"
#include "decide.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

/* struct trial is the packet: what is decided upon, and then the decisions. */
struct trial {
	struct way way;
	struct piece piece;
	struct far far;
	struct policy own;
	struct policy all;

	__u32 order;
	__u32 trim;
	__u32 choice;
	__u32 told;
	__u32 outstanding;
	__u32 ends;
};

const struct trial *unused_trial __attribute__((unused));

SEC("tc")
int decide(struct __sk_buff *skb)
{
	struct trial *t = (void *)(long)skb->data;

	if ((void *)(t + 1) > (void *)(long)skb->data_end)
		return TC_ACT_SHOT;
	t->order = check_order(&t->way, &t->piece, &t->trim);
	t->ends = ends(&t->piece);
	t->outstanding = outstanding(&t->way, &t->far);
	t->choice = choose(&t->way, &t->own, &t->all, &t->far, t->piece.len);
	if (t->choice == REASON_REDIRECTED)
		set_base(&t->way, &t->far);
	return TC_ACT_OK;
}

/* pass counts the piece of the way in map value 0 as passed: the count needs an
 * atomic addition, which packets do not allow. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct way);
} way SEC(".maps");

SEC("tc")
int pass(struct __sk_buff *skb)
{
	__u32 zero = 0;
	struct way *w = bpf_map_lookup_elem(&way, &zero);

	return w ? count_passed(w, skb->len) : -1;
}
