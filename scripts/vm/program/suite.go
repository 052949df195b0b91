package main

import "strings"

// suite is what runs on each kernel: what calls the kernel in ways that differ from
// one to the next. What only computes is tested on the host alone, and so is what is
// there for volume: an emulated machine is some ten times slower.
var suite = []tests{
	{Package: "./userspace/poll"},
	{Package: "./userspace/relay"},
	{Package: "./userspace/gateway"},
	{Package: "./userspace/sockmap"},
	{Package: "./loader", Skip: "^TestTableBig"},
	{Package: "./tests/local"},
	{Package: "./tests/sockmap", Skip: "^TestLeaks$"},
	{
		Package: "./tests",
		Run:     "^Test(SingleBytes|SmallMTU|NextEndpoint|TLS|TakeOver|EarlyBytes|ResetWhileIdle|AnswerBeforeReset|ServerGone)$",
		Skip:    "/two hops|/IPv6|//two hops|//IPv6", // one layout shows what a kernel does
	},
}

// tests are the tests of a package. To run more on the kernels, add them here.
type tests struct {
	Package string
	Run     string   // as of go test -run, "" for all
	Skip    string   // as of go test -skip
	MaySkip []string // names of tests that may skip themselves
}

// flaw is something that a kernel series is known to complain about. It is shown, and
// does not count.
type flaw struct {
	release, complaint, why string
}

var flaws = []flaw{
	// Seen in about every third run, and said once after a boot: what the sockmap still
	// holds of a socket that has ended is freed after the socket has given back what it
	// had set aside. It is accounting, of a page at most, and grows too little to be
	// measured over 100,000 flows.
	{"6.1", "inet_sock_destruct", "a socket's account of memory is off by what was freed after its end"},
	{"6.12", "inet_sock_destruct", "a socket's account of memory is off by what was freed after its end"},
}

// known is why a complaint does not count, "" for one that does.
func known(release, trouble string) string {
	first, _, _ := strings.Cut(trouble, "\n")
	for _, f := range flaws {
		if f.release == release && strings.Contains(first, f.complaint) {
			return f.why
		}
	}
	return ""
}

// modules are those of the kernel that the tests use; there is nothing in a machine
// that would load them when they are first needed. What lacks one says "not
// supported" or "no such file or directory". Those with a ? have become parts of
// others in newer kernels.
var modules = []string{
	"veth", "ifb", "sch_tbf",
	"sch_netem", "sch_htb", "sch_ingress", "cls_bpf", "cls_matchall", "act_mirred",
	"nf_tables", "nft_numgen", "nft_objref?", "nft_dup_netdev", "nft_limit",
	"tls", "ghash_generic?", "gcm", "tcp_diag",
	"xfrm_user", // the netlink library opens sockets of all kinds
}

// tools are the programs that scripts/lab calls.
var tools = []string{"ethtool", "nft", "tc"}
