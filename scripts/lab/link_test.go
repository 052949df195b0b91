package lab_test

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net"
	"net/netip"
	"os/exec"
	"strings"
	"testing"
	"time"

	"sluice/scripts/lab"
	"sluice/scripts/lab/labtest"
)

func netip4(host byte) netip.Addr { return netip.AddrFrom4([4]byte{10, 0, 1, host}) }

// eventually polls until the condition holds.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within 10 s: %s", what)
		}
	}
}

func met(t *testing.T, r *lab.Rule) uint64 {
	t.Helper()
	n, err := r.Packets()
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestLoss(t *testing.T) {
	labtest.NoLeaks(t)
	l := labtest.New(t, "a", "b")
	a, b := l.NS("a"), l.NS("b")
	var conn net.PacketConn
	err := b.Do(func() (err error) {
		conn, err = net.ListenPacket("udp", netip.AddrPortFrom(b.Left.IPv4, 0).String())
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	out, err := a.Dial(context.Background(), "udp", conn.LocalAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	send := func() {
		if _, err := out.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
	}
	arrives := func() bool {
		send()
		conn.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
		_, _, err := conn.ReadFrom(make([]byte, 1))
		return err == nil
	}

	eventually(t, "a packet arrives", arrives)
	all, err := b.Loss(100)
	if err != nil {
		t.Fatal(err)
	}
	const n = 2000
	for range n {
		send()
	}
	// Or some more: the system sends packets of its own.
	eventually(t, "all packets lost", func() bool { return met(t, all) >= n })
	if arrives() {
		t.Error("a packet arrived in spite of a loss of 100 %")
	}
	if err := all.Remove(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a packet arrives after the loss was removed", arrives)

	// 2,000 packets at 30 %: 600 expected, with a standard deviation of 20.
	some, err := b.Loss(30)
	if err != nil {
		t.Fatal(err)
	}
	for range n {
		send()
	}
	eventually(t, "some 600 of 2,000 packets lost", func() bool { return met(t, some) > 450 })
	if got := met(t, some); got > 800 {
		t.Errorf("%d of 2,000 packets lost, want some 600", got)
	}
	for _, percent := range []float64{-1, 0, 0.001, 100.1, math.NaN()} {
		for name, rule := range map[string]func() (*lab.Rule, error){
			"Loss":      func() (*lab.Rule, error) { return b.Loss(percent) },
			"Duplicate": func() (*lab.Rule, error) { return b.Duplicate(b.Left, percent) },
			"Reorder":   func() (*lab.Rule, error) { return b.Reorder(b.Left, percent) },
		} {
			if _, err := rule(); err == nil {
				t.Errorf("%s of %v percent: no error", name, percent)
			}
		}
	}
}

// TestDisorder sends numbered packets over a link that repeats some and holds some
// back, and looks at the numbers that arrive.
func TestDisorder(t *testing.T) {
	labtest.NoLeaks(t)
	l := labtest.New(t, "a", "b")
	a, b := l.NS("a"), l.NS("b")
	var conn net.PacketConn
	err := b.Do(func() (err error) {
		conn, err = net.ListenPacket("udp", netip.AddrPortFrom(b.Left.IPv4, 0).String())
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	out, err := a.Dial(context.Background(), "udp", conn.LocalAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	// How many arrive again, and how many after a higher one? They are few enough to
	// wait in the receiver's buffer, and numbered on from those before, of which some
	// may be there yet.
	next := uint32(0)
	disorder := func() (again, late int) {
		const n = 200
		first := next
		for range n {
			if _, err := out.Write(binary.BigEndian.AppendUint32(nil, next)); err != nil {
				t.Fatal(err)
			}
			next++
		}
		seen, highest := map[uint32]bool{}, uint32(0)
		for len(seen) < n {
			b := make([]byte, 4)
			conn.SetReadDeadline(time.Now().Add(time.Second))
			if _, _, err := conn.ReadFrom(b); err != nil {
				break // a busy receiver may lose some
			}
			i := binary.BigEndian.Uint32(b)
			switch {
			case i < first:
				continue
			case seen[i]:
				again++
			case i < highest:
				late++
			}
			seen[i], highest = true, max(i, highest)
		}
		return again, late
	}

	twice, err := a.Duplicate(a.Right, 20)
	if err != nil {
		t.Fatal(err)
	}
	if again, late := disorder(); again == 0 || late > 0 || met(t, twice) == 0 {
		t.Errorf("some are to come twice: %d did, %d came late", again, late)
	}
	if err := twice.Remove(); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second time after the first was removed
		held, err := a.Reorder(a.Right, 20)
		if err != nil {
			t.Fatal(err)
		}
		if again, late := disorder(); again > 0 || late == 0 || met(t, held) == 0 {
			t.Errorf("some are to come late: %d did, %d came twice", late, again)
		}
		if err := held.Remove(); err != nil {
			t.Fatal(err)
		}
	}
	if again, late := disorder(); again > 0 || late > 0 {
		t.Errorf("without a rule, %d packets came twice and %d late", again, late)
	}
}

func TestBlackHole(t *testing.T) {
	labtest.NoLeaks(t)
	l := labtest.New(t, "client", "gw", "server")
	server := l.NS("server")
	// In the namespace that has the address, and in the one that calls it.
	for _, in := range []string{"server", "gw"} {
		for i, good := range server.Left.More[:2] { // IPv4, IPv6
			t.Run(fmt.Sprint(in, " ", good), func(t *testing.T) {
				bad := server.Left.More[i+2]
				hole, err := l.NS(in).BlackHole(bad)
				if err != nil {
					t.Fatal(err)
				}
				ln, err := server.Listen("tcp", netip.AddrPortFrom(bad, 0).String())
				if err != nil {
					t.Fatal(err)
				}
				defer ln.Close()
				ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
				defer cancel()
				if conn, err := l.NS("gw").Dial(ctx, "tcp", ln.Addr().String()); err == nil {
					conn.Close()
					t.Error("connected through the black hole")
				} else if e, ok := err.(net.Error); !ok || !e.Timeout() {
					t.Errorf("got %v, want a timeout: nobody may be told", err)
				}
				if met(t, hole) == 0 {
					t.Error("no packet counted")
				}
				call(t, l.NS("gw"), server, good)
				if err := hole.Remove(); err != nil {
					t.Fatal(err)
				}
				call(t, l.NS("gw"), server, bad)
			})
		}
	}
	if _, err := server.BlackHole(netip.Addr{}); err == nil {
		t.Error("BlackHole of no address: no error")
	}
}

// TestSegments counts packets larger than the MTU on their way: with offloads
// there are some in a bulk transfer, without them none.
func TestSegments(t *testing.T) {
	labtest.NoLeaks(t)
	l := labtest.New(t, "a", "b")
	const table = `table inet count {
		counter large { }
		chain in { type filter hook prerouting priority 0; policy accept; meta length > 1500 counter name large; }
	}`
	cmd := exec.Command("nft", "-f", "-")
	cmd.Stdin = strings.NewReader(table)
	if err := l.NS("b").Run(cmd); err != nil {
		t.Fatal(err)
	}
	large := func() (n int) {
		out, err := l.NS("b").Output(context.Background(), "nft", "-j", "reset", "counter", "inet", "count", "large")
		if err != nil {
			t.Fatal(err)
		}
		var reply struct {
			Nftables []struct{ Counter struct{ Packets int } }
		}
		if err := json.Unmarshal([]byte(out), &reply); err != nil {
			t.Fatal(err)
		}
		for _, item := range reply.Nftables {
			n += item.Counter.Packets
		}
		return n
	}
	for _, on := range []bool{true, false, true} {
		if err := l.Offloads(on); err != nil {
			t.Fatal(err)
		}
		transfer(t, l.NS("a"), l.NS("b"), 4<<20)
		if n := large(); (n > 0) != on {
			t.Errorf("offloads %v: %d packets larger than the MTU", on, n)
		}
	}
	if err := l.NS("a").MTU(l.NS("a").Right, 1280); err != nil {
		t.Fatal(err)
	}
	out, err := l.NS("a").Output(context.Background(), "ip", "link", "show", "b")
	if err != nil || !strings.Contains(out, "mtu 1280") {
		t.Errorf("ip link after MTU 1280: %v\n%s", err, out)
	}
	if err := l.NS("a").MTU(l.NS("a").Left, 1280); err == nil {
		t.Error("MTU of a link that is not there: no error")
	}
}

// transfer sends n bytes from one neighbour to the other.
func transfer(t *testing.T, from, to *lab.Namespace, n int64) {
	t.Helper()
	ln, err := to.Listen("tcp", netip.AddrPortFrom(to.Left.IPv4, 0).String())
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	got := make(chan int64, 1)
	go func() {
		conn, err := ln.Accept()
		if err != nil {
			got <- -1
			return
		}
		defer conn.Close()
		n, _ := io.Copy(io.Discard, conn)
		got <- n
	}()
	conn, err := from.Dial(context.Background(), "tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	conn.SetDeadline(time.Now().Add(30 * time.Second))
	buf := make([]byte, 64<<10)
	for sent := int64(0); sent < n; sent += int64(len(buf)) {
		if _, err := conn.Write(buf); err != nil {
			t.Fatal(err)
		}
	}
	conn.Close()
	if got := <-got; got != n {
		t.Errorf("%d of %d bytes arrived", got, n)
	}
}
