package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os/exec"
	"strings"
)

// Drop is a rule by which a namespace loses packets, an nftables table of its own.
type Drop struct {
	ns    *Namespace
	table string
}

// Loss makes the namespace lose a share of the packets that reach it from
// outside, chosen at random, whether they are for itself or to be forwarded. A
// packet here may be 64 KiB that segmentation offload sent as one: for the loss
// of single segments, switch Offloads off on both ends first. percent is from
// 0.01 to 100, in steps of 0.01.
func (n *Namespace) Loss(percent float64) (*Drop, error) {
	if !(percent >= 0.01 && percent <= 100) {
		return nil, fmt.Errorf("lab: loss of %v percent: want 0.01 to 100", percent)
	}
	share := int(percent*100 + 0.5)
	if share == 10000 {
		return n.drop("") // nft refuses a comparison that always holds
	}
	return n.drop(fmt.Sprintf("numgen random mod 10000 < %d", share))
}

// BlackHole makes the namespace lose, without a word, every packet from or to the
// address that reaches it from outside.
func (n *Namespace) BlackHole(addr netip.Addr) (*Drop, error) {
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

// drop installs a table that drops and counts what any of the matches fits. Its
// hook is before routing, so that both local and forwarded packets pass it, and
// receiving only: a local sender would be told of a drop on its way out.
func (n *Namespace) drop(matches ...string) (*Drop, error) {
	if n == nil {
		return nil, errNoNamespace
	}
	d := &Drop{ns: n, table: fmt.Sprintf("sluice_lab_%d", n.lab.drops.Add(1))}
	var b strings.Builder
	fmt.Fprintf(&b, "table inet %s {\n\tcounter dropped { }\n\tchain in {\n", d.table)
	b.WriteString("\t\ttype filter hook prerouting priority raw; policy accept;\n")
	for _, m := range matches {
		fmt.Fprintf(&b, "\t\tiifname != \"lo\" %s counter name dropped drop\n", m)
	}
	b.WriteString("\t}\n}\n")
	cmd := exec.Command(adminTool("nft"), "-f", "-")
	cmd.Stdin = strings.NewReader(b.String())
	if _, err := n.output(cmd); err != nil {
		return nil, err
	}
	return d, nil
}

// Packets is how many packets were lost to the rule so far.
func (d *Drop) Packets() (uint64, error) {
	out, err := d.ns.Output(context.Background(), adminTool("nft"), "-j", "list", "counter", "inet", d.table, "dropped")
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

// Remove ends the loss.
func (d *Drop) Remove() error {
	_, err := d.ns.Output(context.Background(), adminTool("nft"), "delete", "table", "inet", d.table)
	return err
}
