/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* The routing table as it lies in pinned maps: for programs to read policy from and
 * to count into, and for whoever wants to know where a name leads, whether the agent
 * runs or not. Package mirror has the same layouts in Go; a test of package loader
 * compares the two by BTF.
 *
 * A name is looked up in three steps, and whatever the agent is writing meanwhile,
 * each step finds what belongs to the one before it:
 *
 *	routes:    the reversed name, longest prefix -> struct route_record, has a cluster's id
 *	clusters:  that id -> struct cluster_record, has a generation and a number of addresses
 *	endpoints: id, generation, 0 to number-1 -> struct endpoint_record
 *
 * An address is in the endpoints before the cluster that has its generation, and a
 * cluster is in clusters before the first route to it. Ids of clusters and of texts
 * are never used again. Those of routes, which index route_stats, are used again
 * once no flow has them.
 *
 * "check" in a record is CRC-32C of its key and of the record with check as 0. It
 * finds records that were copied while the kernel gave their memory to another key,
 * and damage. "unused" is 0. Texts end with their number of bytes, or with a NUL. */
#pragma once

/* A change to anything in this file needs a new number: maps of another one are not
 * touched, and those of this one are made beside them. */
#define TABLE_ABI 1
#define TABLE_MAGIC 0x656c6261742d6c73ULL /* "sl-table" */

#define TABLE_NAME 256 /* bytes; a name of DNS has 253 at most */
#define TABLE_TEXT 256 /* bytes of a text in one entry */
#define TABLE_PATH 16

/* struct route_key is the key of a trie: the bits that count of the bytes after.
 * "web.x" is "x.bew" and a NUL, so that nothing longer matches. "*.x" is "x.", which
 * begins the reversed name of all below x, but not that of x. "*" is nothing. */
struct route_key {
	__u32 bits;
	__u8 name[TABLE_NAME];
};

struct route_record {
	__u64 max_flows; /* at one time; 0: as the gateway has it */
	__u32 id;	 /* from 1; index into route_stats */
	__u32 cluster;	 /* its id; 0: the route refuses its flows */
	__u32 refuse;	 /* id of the text that says why; 0: it does not refuse */
	__u32 credit;	 /* bytes; 0: as the gateway has it */
	char path[TABLE_PATH]; /* "": as the gateway has it */
	__u32 check;
	__u32 unused;
};

struct cluster_record {
	__u64 connect_timeout; /* ns; 0: as the gateway has it */
	__u32 id;
	__u32 generation; /* of its addresses */
	__u32 addresses;  /* entries of that generation */
	__s32 panic;	  /* percent healthy below which all are used; -1: never */
	__u8 policy;	  /* enum table_policy */
	__u8 discovery;	  /* enum table_discovery */
	__u8 send_proxy;  /* 1: begin upstream connections with a PROXY header */
	__u8 unused;
	__u32 name_bytes;
	__u32 check;
	__u32 spare;
	char name[TABLE_NAME];
};

struct endpoint_key {
	__u32 cluster;
	__u32 generation;
	__u32 index;
};

/* struct endpoint_record is one address of an endpoint. An endpoint that is a name
 * of DNS has an entry for each address it resolved to, one after the other, or a
 * single one of family 0 while it has none. */
struct endpoint_record {
	__u8 addr[16];	 /* in network order; of IPv4 the first 4 */
	__u32 member;	 /* the endpoint that this is an address of, from 0 */
	__u32 host;	 /* id of the text that is its name in DNS; 0: it has none */
	__u32 zone;	 /* id of the text that is the zone of addr; 0: it has none */
	__u16 port;	 /* of addr, in the host's order */
	__u16 host_port; /* of host */
	__u16 weight;
	__u8 family; /* 0, 4 or 6 */
	__u8 health; /* enum table_health */
	__u32 check;
};

/* A text is in as many entries as it takes, from part 0 on. */
struct text_key {
	__u32 id;
	__u32 part;
};

struct text_record {
	__u32 bytes; /* of the whole text */
	__u32 check;
	char text[TABLE_TEXT];
};

/* struct route_policy is what an operator has set for a route. It stays until it is
 * cleared, also while the route is not in the table: so it has the route's name. */
struct route_policy {
	__u64 set_at;	 /* ns since 1970 */
	__u64 max_flows; /* 0: as the route has it */
	__u32 credit;	 /* 0: as the route has it */
	__u32 name_bytes;
	__u32 check;
	__u32 unused;
	char path[TABLE_PATH]; /* "": as the route has it */
	char name[TABLE_NAME]; /* as text: "*.x" */
};

/* enum table_end is how a flow of a route came to its end. Those before END_CLOSED
 * are refusals. */
enum table_end {
	END_OTHER,
	END_ROUTE_REFUSED,
	END_LIMIT_ROUTE,
	END_NO_ENDPOINT,
	END_CONNECT_FAILED,
	END_NO_RESOURCES,
	END_DRAINING,
	END_CLOSED,
	END_DOWNSTREAM_RESET,
	END_UPSTREAM_RESET,
	END_IDLE_TIMEOUT,
	END_LIFETIME_OVER,
	END_DRAIN_TIMEOUT,
	END_ENDPOINT_REMOVED,
	END_KILLED,
	END_PATH_ERROR,
	TABLE_ENDS,
};

/* struct route_stats is written by the agent alone, in memory that it shares. */
struct route_stats {
	__u64 flows;  /* begun */
	__s64 active; /* now */
	__u64 sent;   /* bytes to upstreams */
	__u64 received;
	__u64 connect_failures; /* attempts, not flows */
	__u64 unused[3];
	__u64 ended[TABLE_ENDS];
};

/* struct route_traffic is counted by programs, by processor: what they moved of a
 * route's flows themselves. Index 0 is to the upstream, 1 from it. */
struct route_traffic {
	__u64 pieces[2];
	__u64 bytes[2];
};

enum table_state {
	TABLE_EMPTY,
	TABLE_WRITING, /* between the first and the last write of a change, or cut off there */
	TABLE_WHOLE,
};

/* struct table_meta is about the whole. It is written before the first write of a
 * change, and after the last one. */
struct table_meta {
	__u64 sequence; /* of writes of this record */
	__u64 version;	/* of the table, in the process that wrote it */
	__s64 built;	/* when the table was built, ns since 1970 */
	__s64 written;	/* when this was, ns since 1970 */
	__u32 state;	/* enum table_state */
	__u32 check;
	__u32 routes;
	__u32 clusters;
	__u32 addresses;    /* entries of endpoints */
	__u32 next_cluster; /* id that no cluster has had */
	__u32 next_text;    /* id that no text has had */
	__u32 unused;
	char source[TABLE_NAME];       /* of the table: "xds", "catalog", a file's name */
	char index[TABLE_NAME];	       /* Consul's index or the stream's nonce at that table */
	char gateway[TABLE_NAME];      /* that the table is for: "dc1/mesh-gateway" */
	char listeners[4 * TABLE_NAME]; /* that it had: "10.0.0.1:8443,[fd00::1]:8443" */
};

enum table_policy { POLICY_ROUND_ROBIN, POLICY_LEAST_REQUEST, POLICY_RANDOM };
enum table_discovery { DISCOVERY_STRICT, DISCOVERY_LOGICAL };
enum table_health { HEALTH_PASSING, HEALTH_WARNING, HEALTH_CRITICAL };
