package main

// suite is what runs on each kernel: what calls the kernel in ways that differ from
// one to the next. What only computes is tested on the host alone.
var suite = []tests{
	{Package: "./userspace/poll"},
	{Package: "./userspace/relay"},
	{Package: "./userspace/gateway"},
	{Package: "./userspace/sockmap"},
	{Package: "./loader"},
	{Package: "./tests/sockmap"},
	{Package: "./tests"},
}

// tests are the tests of a package. To run more on the kernels, add them here.
type tests struct {
	Package string
	Run     string   // as of go test -run, "" for all
	Skip    string   // as of go test -skip: what an emulated machine is too slow for
	MaySkip []string // names of tests that may skip themselves
}

// modules are those of the kernel that the tests use; there is nothing in a machine
// that would load them when they are first needed. What lacks one says "not
// supported" or "no such file or directory". Those with a ? have become parts of
// others in newer kernels.
var modules = []string{
	"veth", "ifb",
	"sch_netem", "sch_htb", "sch_ingress", "cls_bpf", "cls_matchall", "act_mirred",
	"nf_tables", "nft_numgen", "nft_objref?", "nft_dup_netdev", "nft_limit",
	"tls", "tcp_diag",
	"xfrm_user", // the netlink library opens sockets of all kinds
}

// tools are the programs that scripts/lab calls.
var tools = []string{"ethtool", "nft", "tc"}
