package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os/exec"
	"strconv"
	"strings"

	"github.com/vishvananda/netlink"
)

// Rule is one by which a namespace mistreats packets, chosen at random or by
// address: an nftables table of its own, and what that needs.
//
// Where netem could do the same, nftables and HTB do it: more kernels have those.
type Rule struct {
	ns     *Namespace
	family string
	table  string
	undo   []func() error // takes back what the rule has changed beside its table
}

// Loss makes the namespace lose a share of the packets that reach it from
// outside, chosen at random, whether they are for itself or to be forwarded. A
// packet here may be 64 KiB that segmentation offload sent as one: for the loss
// of single segments, switch Offloads off on both ends first. percent is from
// 0.01 to 100, in steps of 0.01.
func (n *Namespace) Loss(percent float64) (*Rule, error) {
	match, err := share(percent)
	if err != nil {
		return nil, err
	}
	return n.drop(match)
}

// BlackHole makes the namespace lose, without a word, every packet from or to the
// address that reaches it from outside.
func (n *Namespace) BlackHole(addr netip.Addr) (*Rule, error) {
	addr = addr.Unmap()
	if !addr.IsValid() {
		return nil, errors.New("lab: black hole: no address given")
	}
	family := "ip"
	if addr.Is6() {
		family = "ip6"
	}
	return n.drop(fmt.Sprintf("%s saddr %s", family, addr), fmt.Sprintf("%s daddr %s", family, addr))
}

// Duplicate makes the namespace send a share of the packets on the link twice. For
// percent and Offloads, see Loss. TCP makes large packets even with those off, to be
// cut up behind the rule: connections that begin while there is one do not.
func (n *Namespace) Duplicate(l *Link, percent float64) (*Rule, error) {
	match, err := share(percent)
	if err != nil {
		return nil, err
	}
	return n.egress(l, match, "dup to LINK")
}

// Reorder makes the namespace hold back a share of the packets that it sends on
// the link, a millisecond and more, so that later ones overtake them. For percent
// and Offloads, see Duplicate. A link has room for one such rule.
func (n *Namespace) Reorder(l *Link, percent float64) (*Rule, error) {
	match, err := share(percent)
	if err != nil {
		return nil, err
	}
	r, err := n.egress(l, match, "meta priority set 1:1")
	if err != nil {
		return nil, err
	}
	// A narrow class for those of that priority; all others pass it by. Its limit
	// bounds how late a packet can be.
	cmd := exec.Command(adminTool("tc"), "-batch", "-")
	cmd.Stdin = strings.NewReader(strings.ReplaceAll(`qdisc add dev LINK root handle 1: htb
class add dev LINK parent 1: classid 1:1 htb rate 10mbit burst 1 cburst 1
qdisc add dev LINK parent 1:1 pfifo limit 100
`, "LINK", l.Name))
	if _, err := n.output(cmd); err != nil {
		return nil, errors.Join(err, r.Remove())
	}
	r.undo = append(r.undo, func() error {
		_, err := n.Output(context.Background(), adminTool("tc"), "qdisc", "del", "dev", l.Name, "root")
		return err
	})
	return r, nil
}

// share is the match for so many of all packets.
func share(percent float64) (string, error) {
	if !(percent >= 0.01 && percent <= 100) {
		return "", fmt.Errorf("lab: %v percent of packets: want 0.01 to 100", percent)
	}
	of10000 := int(percent*100 + 0.5)
	if of10000 == 10000 {
		return "", nil // nft refuses a comparison that always holds
	}
	return fmt.Sprintf("numgen random mod 10000 < %d", of10000), nil
}

// drop installs a table that drops and counts what any of the matches fits. Its
// hook is before routing, so that both local and forwarded packets pass it, and
// receiving only: a local sender would be told of a drop on its way out.
func (n *Namespace) drop(matches ...string) (*Rule, error) {
	var rules []string
	for _, m := range matches {
		rules = append(rules, fmt.Sprintf("iifname != \"lo\" %s counter name met drop", m))
	}
	return n.install("inet", "prerouting priority raw", rules...)
}

// egress installs a table that does something to, and counts, what leaves by LINK
// and fits the match.
func (n *Namespace) egress(l *Link, match, what string) (*Rule, error) {
	if n == nil || l == nil {
		return nil, fmt.Errorf("lab: %s has no such link", n.fullName())
	}
	if err := n.segments(l, 1); err != nil {
		return nil, err
	}
	name := strconv.Quote(l.Name)
	r, err := n.install("netdev", "egress device "+name+" priority 0",
		match+" counter name met "+strings.ReplaceAll(what, "LINK", name))
	if err != nil {
		return nil, err
	}
	r.undo = append(r.undo, func() error { return n.segments(l, 1<<16-1) })
	return r, nil
}

// segments limits how many TCP puts into a packet that is to leave by the link.
func (n *Namespace) segments(l *Link, most int) error {
	return n.withLink(l, func(h *netlink.Handle, dev netlink.Link) error {
		if err := h.LinkSetGSOMaxSegs(dev, most); err != nil {
			return fmt.Errorf("limit packets to %d segments on %s of %s: %w", most, l.Name, n.Full, err)
		}
		return nil
	})
}

func (n *Namespace) install(family, hook string, rules ...string) (*Rule, error) {
	if n == nil {
		return nil, errNoNamespace
	}
	r := &Rule{ns: n, family: family, table: fmt.Sprintf("sluice_lab_%d", n.lab.rules.Add(1))}
	cmd := exec.Command(adminTool("nft"), "-f", "-")
	cmd.Stdin = strings.NewReader(fmt.Sprintf("table %s %s {\n\tcounter met { }\n\tchain rules {\n\t\ttype filter hook %s; policy accept;\n\t\t%s\n\t}\n}\n",
		family, r.table, hook, strings.Join(rules, "\n\t\t")))
	if _, err := n.output(cmd); err != nil {
		return nil, err
	}
	return r, nil
}

// Packets is how many packets have met the rule so far.
func (r *Rule) Packets() (uint64, error) {
	out, err := r.ns.Output(context.Background(), adminTool("nft"), "-j", "list", "counter", r.family, r.table, "met")
	if err != nil {
		return 0, err
	}
	var reply struct {
		Nftables []struct {
			Counter *struct{ Packets uint64 }
		}
	}
	if err := json.Unmarshal([]byte(out), &reply); err != nil {
		return 0, fmt.Errorf("read nft's counter: %w", err)
	}
	for _, item := range reply.Nftables {
		if item.Counter != nil {
			return item.Counter.Packets, nil
		}
	}
	return 0, fmt.Errorf("nft told of no counter: %s", out)
}

// Remove ends the rule. What it held back is lost.
func (r *Rule) Remove() error {
	_, err := r.ns.Output(context.Background(), adminTool("nft"), "delete", "table", r.family, r.table)
	for _, undo := range r.undo {
		err = errors.Join(err, undo())
	}
	return err
}
