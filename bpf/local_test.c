// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/* Runs the local path's decisions on what a packet of the test describes: the
 * kernel can run a sched_cls program so, but no sk_msg program. */
#include <linux/bpf.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_helpers.h>

#include "local.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

/* struct local_trial is the packet: what is decided upon, and then the decisions. */
struct local_trial {
	struct local_way way;
	struct local_note note;
	struct target target;
	struct sender sender;
	struct receiver receiver;
	__u32 len;
	__u32 snd_una;
	__u32 rcv_nxt;

	__u32 choice;
	__u32 agreed;
	__u32 delivered;
};

const struct local_trial *unused_local_trial __attribute__((unused));

SEC("tc")
int decide_local(struct __sk_buff *skb)
{
	struct local_trial *t = (void *)(long)skb->data;

	if ((void *)(t + 1) > (void *)(long)skb->data_end)
		return TC_ACT_SHOT;
	t->choice = choose_local(&t->way, &t->note, &t->sender, &t->target, t->len);
	if (t->choice == LOCAL_REDIRECTED || t->choice == LOCAL_NO_ROOM)
		settle(&t->way, &t->note, &t->target);
	t->agreed = agree(t->snd_una, t->sender.write_seq, t->rcv_nxt);
	t->delivered = may_deliver(&t->way, &t->receiver, t->target.write_seq, t->len);
	return TC_ACT_OK;
}
