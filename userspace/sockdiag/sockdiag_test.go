package sockdiag

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// patient is how long a test waits for what must come.
const patient = 30 * time.Second

// connect returns both ends of a connection over loopback.
func connect(t testing.TB, network, addr string) (client, server *net.TCPConn) {
	t.Helper()
	l, err := net.Listen(network, addr)
	if err != nil {
		t.Skipf("no %s on this host: %v", network, err)
	}
	defer l.Close()
	return connectTo(t, l)
}

func connectTo(t testing.TB, l net.Listener) (client, server *net.TCPConn) {
	t.Helper()
	dialer := net.Dialer{Timeout: patient}
	dialer.SetMultipathTCP(false)
	c, err := dialer.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	s, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	for _, end := range []net.Conn{c, s} {
		if err := end.SetDeadline(time.Now().Add(patient)); err != nil {
			t.Fatal(err)
		}
	}
	return c.(*net.TCPConn), s.(*net.TCPConn)
}

// pairOf is the addresses as sockdiag has them.
func pairOf(c net.Conn) Pair {
	return PairOf(c.LocalAddr().(*net.TCPAddr).AddrPort(), c.RemoteAddr().(*net.TCPAddr).AddrPort())
}

func dump(t testing.TB) *Table {
	t.Helper()
	table, err := Dump()
	if err != nil {
		t.Fatal(err)
	}
	return table
}

func cookie(t *testing.T, c *net.TCPConn) (n uint64) {
	t.Helper()
	raw, err := c.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var got error
	if err := raw.Control(func(fd uintptr) { n, got = unix.GetsockoptUint64(int(fd), unix.SOL_SOCKET, unix.SO_COOKIE) }); err != nil || got != nil {
		t.Fatal(err, got)
	}
	return n
}

func TestDump(t *testing.T) {
	for _, test := range []struct{ name, network, addr string }{
		{"IPv4", "tcp4", "127.0.0.1:0"},
		{"IPv6", "tcp6", "[::1]:0"},
	} {
		t.Run(test.name, func(t *testing.T) {
			client, server := connect(t, test.network, test.addr)
			const size = 100_000
			go client.Write(make([]byte, size))
			if _, err := io.ReadFull(server, make([]byte, size)); err != nil {
				t.Fatal(err)
			}
			// What was read was received, but its acknowledgement may be under way.
			var c, s *Socket
			for end := time.Now().Add(patient); ; time.Sleep(time.Millisecond) {
				table := dump(t)
				c, s = table.Pair(pairOf(client)), table.Pair(pairOf(server))
				if c == nil || s == nil {
					t.Fatalf("of the connection %s the dump has %v and %v", pairOf(client), c, s)
				}
				if table.Cookie(c.Cookie) != c {
					t.Errorf("cookie %d leads to another socket", c.Cookie)
				}
				if c.BytesAcked >= size || time.Now().After(end) {
					break
				}
			}
			if want := cookie(t, client); c.Cookie != want {
				t.Errorf("cookie %d, want %d", c.Cookie, want)
			}
			if c.State != Established || s.State != Established {
				t.Errorf("states %v and %v, want both established", c.State, s.State)
			}
			// A connection's first number counts as a byte on the side that dialed.
			if c.BytesAcked != size+1 || s.BytesReceived != size {
				t.Errorf("%d bytes acknowledged and %d received, want %d and %d", c.BytesAcked, s.BytesReceived, size+1, size)
			}
			if c.RTT <= 0 || c.RTT > patient || c.Cwnd == 0 || c.Unacked != 0 || c.NotSent != 0 {
				t.Errorf("RTT %v, window %d, unacknowledged %d, not sent %d", c.RTT, c.Cwnd, c.Unacked, c.NotSent)
			}
		})
	}
}

// TestDumpMapped: a socket of IPv6 that serves a client of IPv4 is found by the short
// form of its addresses.
func TestDumpMapped(t *testing.T) {
	l, err := net.Listen("tcp", "[::]:0")
	if err != nil {
		t.Skipf("no IPv6 on this host: %v", err)
	}
	defer l.Close()
	c, err := net.Dial("tcp4", netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), l.Addr().(*net.TCPAddr).AddrPort().Port()).String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	p := pairOf(c)
	if dump(t).Pair(Pair{p.Remote, p.Local}) == nil {
		t.Errorf("no server socket for %s", p)
	}
}

// TestStates sees a queue that a reader leaves full, and a half-closed connection.
func TestStates(t *testing.T) {
	client, server := connect(t, "tcp4", "127.0.0.1:0")
	if err := client.SetWriteDeadline(time.Now().Add(200 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if _, err := client.Write(make([]byte, 64<<20)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("writing to one who does not read: %v", err)
	}
	if s := dump(t).Pair(pairOf(client)); s == nil || s.NotSent == 0 {
		t.Errorf("a stalled sender is %+v, want bytes not sent", s)
	}
	if err := server.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(patient); ; time.Sleep(time.Millisecond) {
		table := dump(t)
		c, s := table.Pair(pairOf(client)), table.Pair(pairOf(server))
		if c.State == CloseWait && s.State == FinWait2 {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("states %v and %v", c.State, s.State)
		}
	}
}

// TestLeftOut: neither listeners nor sockets that wait out their time are in a dump.
func TestLeftOut(t *testing.T) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	client, server := connectTo(t, l)
	p := pairOf(client)
	client.Close()
	io.Copy(io.Discard, server)
	server.Close()
	for end := time.Now().Add(patient); dump(t).Pair(p) != nil; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("a closed connection stays in the dump")
		}
	}
	for s := range dump(t).All() {
		if s.State == Listen || s.State == TimeWait || !s.Remote.IsValid() || s.Remote.Port() == 0 {
			t.Errorf("the dump has %+v", s)
		}
	}
}

func TestDestroy(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs CAP_NET_ADMIN")
	}
	for _, test := range []struct{ name, network, addr string }{
		{"IPv4", "tcp4", "127.0.0.1:0"},
		{"IPv6", "tcp6", "[::1]:0"},
	} {
		t.Run(test.name, func(t *testing.T) {
			client, server := connect(t, test.network, test.addr)
			other, _ := connect(t, test.network, test.addr)
			s := dump(t).Pair(pairOf(server))
			wrong := *s
			wrong.Cookie++
			if err := Destroy(&wrong); err == nil {
				t.Error("a socket was destroyed by another one's cookie")
			}
			if err := Destroy(s); err != nil {
				t.Fatal(err)
			}
			if _, err := client.Read(make([]byte, 1)); !errors.Is(err, unix.ECONNRESET) {
				t.Errorf("the peer got %v, want a reset", err)
			}
			if err := Destroy(s); !errors.Is(err, unix.ENOENT) {
				t.Errorf("the second time: %v, want %v", err, unix.ENOENT)
			}
			if dump(t).Pair(pairOf(other)) == nil {
				t.Error("another connection is gone too")
			}
		})
	}
}

// TestNamespace: only sockets of the caller's network namespace are seen.
func TestNamespace(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root to make a network namespace")
	}
	connect(t, "tcp4", "127.0.0.1:0")
	n := make(chan int)
	go func() {
		// Never unlocked: the thread goes with its namespace.
		runtime.LockOSThread()
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			t.Error(err)
		}
		table, err := Dump()
		if err != nil {
			t.Error(err)
			close(n)
			return
		}
		n <- table.Len()
	}()
	if got := <-n; got != 0 {
		t.Errorf("%d sockets in a new namespace, want none", got)
	}
}

func TestAmbiguous(t *testing.T) {
	p := Pair{netip.MustParseAddrPort("[fe80::1]:1"), netip.MustParseAddrPort("[fe80::2]:2")}
	table := &Table{byPair: map[Pair]int{}}
	for n := range uint64(3) {
		table.add(Socket{Pair: p, Cookie: n, link: uint32(n)})
	}
	if s := table.Pair(p); s != nil {
		t.Errorf("three sockets have the pair, and %+v was returned", s)
	}
	if s := table.Cookie(2); s == nil || s.link != 2 {
		t.Errorf("cookie 2 leads to %+v", s)
	}
}

// message builds what the kernel would send, with attributes of a type each.
func message(family, state uint8, attrs map[uint16][]byte) []byte {
	b := make([]byte, messageSize)
	b[0], b[1] = family, state
	for kind, value := range attrs {
		b = binary.NativeEndian.AppendUint16(b, uint16(4+len(value)))
		b = binary.NativeEndian.AppendUint16(b, kind)
		b = append(b, value...)
		b = append(b, make([]byte, -len(b)&3)...)
	}
	return b
}

func TestParse(t *testing.T) {
	const rtt = 68 // its place in struct tcp_info
	full := make([]byte, 300)
	binary.NativeEndian.PutUint32(full[rtt:], 1500)
	want := 1500 * time.Microsecond
	for _, test := range []struct {
		name string
		msg  []byte
		rtt  time.Duration
		ok   bool
		err  bool
	}{
		{"newer kernel", message(unix.AF_INET, 1, map[uint16][]byte{infoAttr: full}), want, true, false},
		{"older kernel", message(unix.AF_INET, 1, map[uint16][]byte{infoAttr: full[:104]}), want, true, false},
		{"other attributes", message(unix.AF_INET6, 1, map[uint16][]byte{8: {1}, infoAttr: full, 15: {1, 2, 3}}), want, true, false},
		{"none", message(unix.AF_INET, 5, nil), 0, false, false},
		{"no information", message(unix.AF_INET, 5, map[uint16][]byte{8: {1}}), 0, false, false},
		{"short", make([]byte, messageSize-1), 0, false, true},
		{"attribute beyond the end", append(message(unix.AF_INET, 1, nil), 9, 0, 2, 0), 0, false, true},
		{"attribute of no length", append(message(unix.AF_INET, 1, nil), 0, 0, 2, 0), 0, false, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			s, ok, err := parse(test.msg)
			if ok != test.ok || (err != nil) != test.err || s.RTT != test.rtt {
				t.Errorf("RTT %v, %t, error %v; want %v, %t, an error: %t", s.RTT, ok, err, test.rtt, test.ok, test.err)
			}
		})
	}
}

// TestRequest: what a request says of a socket is what a message said of it.
func TestRequest(t *testing.T) {
	for _, pair := range []Pair{
		{netip.MustParseAddrPort("10.1.2.3:4567"), netip.MustParseAddrPort("10.3.2.1:80")},
		{netip.MustParseAddrPort("[2001:db8::1]:4567"), netip.MustParseAddrPort("[2001:db8::2]:80")},
	} {
		family := uint8(unix.AF_INET6)
		if pair.Local.Addr().Is4() {
			family = unix.AF_INET
		}
		want := Socket{Pair: pair, Cookie: 0x1122334455667788, link: 7}
		req := request{family: family, socket: &want}.bytes()
		if len(req) != requestSize {
			t.Fatalf("a request of %d bytes, want %d", len(req), requestSize)
		}
		msg := message(family, 0, nil)
		copy(msg[messageID:], req[requestID:])
		got, _, err := parse(msg)
		if diff := cmp.Diff(want, got, cmp.AllowUnexported(Socket{}), cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })); err != nil || diff != "" {
			t.Errorf("%v, differs (-want +got):\n%s", err, diff)
		}
	}
}

func TestStateNames(t *testing.T) {
	for s := State(0); s <= 20; s++ {
		if s.String() == "" {
			t.Errorf("state %d has no name", s)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(message(unix.AF_INET, 1, map[uint16][]byte{infoAttr: make([]byte, 232)}))
	f.Add(message(unix.AF_INET6, 8, map[uint16][]byte{8: {1}, 3: nil}))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		if s, ok, err := parse(b); err == nil && ok && (!s.Local.IsValid() || s.RTT < 0) {
			t.Errorf("made %+v of it", s)
		}
	})
}

// BenchmarkDump18000 dumps 9,000 connections, both ends of which are on this host.
func BenchmarkDump18000(b *testing.B) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil || limit.Cur < 18100 {
		b.Skipf("needs 18,100 open files, and may have %d (%v)", limit.Cur, err)
	}
	for range 9000 {
		connectTo(b, l)
	}
	for b.Loop() {
		if n := dump(b).Len(); n < 18000 {
			b.Fatalf("%d sockets", n)
		}
	}
}
