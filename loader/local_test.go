package loader

import (
	"net"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"sluice/userspace/slot"
)

func loadLocalTrials(t *testing.T) *ebpf.Program {
	t.Helper()
	needRoot(t)
	var o decideLocalObjects
	if err := loadDecideLocalObjects(&o, nil); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { o.Close() })
	return o.DecideLocal
}

// TestLocalChoice: a message of 1,000 bytes, of a sender that has sent 500 over TCP, all
// of which are relayed, to a target with room.
func TestLocalChoice(t *testing.T) {
	p := loadLocalTrials(t)
	const established, closeWait, overhead = 1, 8, 16384
	type trial = decideLocalLocalTrial
	for _, c := range []struct {
		name   string
		change func(*trial)
		want   slot.Message
	}{
		{"all relayed", func(*trial) {}, slot.MessageRedirected},
		{"nothing was sent yet", func(d *trial) { d.Way.Relayed, d.Sender.WriteSeq = 0, 7000 }, slot.MessageRedirected},
		{"redirected before", func(d *trial) { d.Way.Redirected = 1 << 40 }, slot.MessageRedirected},
		{"over the wrap", func(d *trial) { d.Note.Base, d.Sender.WriteSeq = 0xffffff00, 244 }, slot.MessageRedirected},
		{"after 4 GiB", func(d *trial) { d.Way.Relayed = 1<<32 + 500 }, slot.MessageRedirected},
		{"one byte on its way", func(d *trial) { d.Sender.WriteSeq++ }, slot.MessageBehind},
		{"one byte not written yet", func(d *trial) { d.Way.Relayed-- }, slot.MessageBehind},
		{"the sender's socket is another connection's", func(d *trial) { d.Sender.Ports++ }, slot.MessageUnknown},
		{"the way is another flow's", func(d *trial) { d.Way.Target++ }, slot.MessageUnknown},
		{"the way is nobody's", func(d *trial) { d.Way.Target, d.Note.Target, d.Target.Cookie = 0, 0, 0 }, slot.MessageUnknown},
		{"kernel TLS", func(d *trial) { d.Sender.Ulp = 1 }, slot.MessageULP},
		{"the target's memory is another socket's", func(d *trial) { d.Target.Cookie++ }, slot.MessageGone},
		{"the target's memory is gone", func(d *trial) { d.Target.Cookie, d.Target.State = 0, 0 }, slot.MessageGone},
		{"the server has ended its stream", func(d *trial) { d.Target.State = closeWait }, slot.MessageRedirected},
		{"the target has ended its own", func(d *trial) { d.Target.State = 4 }, slot.MessageGone},
		{"the target is in another's hands", func(d *trial) { d.Target.Foreign = 1 }, slot.MessageForeign},
		{"it fits exactly", func(d *trial) { d.Target.Room = 1000 + overhead }, slot.MessageRedirected},
		{"a byte too large", func(d *trial) { d.Target.Room = 999 + overhead }, slot.MessageNoRoom},
		{"no room", func(d *trial) { d.Target.Room = 0 }, slot.MessageNoRoom},
		{"less than no room", func(d *trial) { d.Target.Room = -5 }, slot.MessageNoRoom},
		{"the largest there could be", func(d *trial) { d.Len = 0xffffffff }, slot.MessageNoRoom},
	} {
		t.Run(c.name, func(t *testing.T) {
			var d trial
			d.Way.Target, d.Note.Target, d.Target.Cookie = 77, 77, 77
			d.Note.Base, d.Way.Relayed, d.Sender.WriteSeq = 7000, 500, 7500
			d.Note.Ports, d.Sender.Ports = 0x12345678, 0x12345678
			d.Target.State, d.Target.Room, d.Len = established, 1<<20, 1000
			d.Target.WriteSeq = 4_000_000_500
			d.Note.Start = 4_000_000_000
			c.change(&d)
			decide(t, p, &d)
			if got := slot.Message(d.Choice); got != c.want {
				t.Errorf("got %v, want %v", got, c.want)
			}
		})
	}
}

// TestLocalDelivery: a message of 1,000 bytes for a receiver that has read all that was
// sent to it by TCP.
func TestLocalDelivery(t *testing.T) {
	p := loadLocalTrials(t)
	const established, finWait1, finWait2, closeWait = 1, 4, 5, 8
	const none, empty, filled = 0, 1, 2
	type trial = decideLocalLocalTrial
	for _, c := range []struct {
		name   string
		change func(*trial)
		want   bool
	}{
		{"all read", func(*trial) {}, true},
		{"a byte to be read", func(d *trial) { d.Receiver.CopiedSeq-- }, false},
		{"a byte on its way", func(d *trial) { d.Target.WriteSeq++ }, false},
		{"over the wrap", func(d *trial) {
			d.Target.WriteSeq, d.Receiver.RcvNxt, d.Receiver.CopiedSeq = 0, 0, 0
		}, true},
		{"its own stream has ended", func(d *trial) { d.Receiver.State = finWait1 }, true},
		{"and that is acknowledged", func(d *trial) { d.Receiver.State = finWait2 }, true},
		{"the target's has ended", func(d *trial) { d.Receiver.State = closeWait }, false},
		{"it is closed", func(d *trial) { d.Receiver.State = 7 }, false},
		{"it does not receive", func(d *trial) { d.Receiver.Shutdown = 1 }, false},
		{"it does not send", func(d *trial) { d.Receiver.Shutdown = 2 }, true},
		{"kernel TLS", func(d *trial) { d.Receiver.Ulp = 1 }, false},
		{"it has no queue", func(d *trial) { d.Receiver.Queue = none }, false},
		{"no credit", func(d *trial) { d.Way.Credit = 0 }, false},
		{"just enough", func(d *trial) { d.Way.Credit = 1000 }, true},
		{"a byte too little", func(d *trial) { d.Way.Credit = 999 }, false},
		{"what was read does not count", func(d *trial) { d.Way.Queued = 1 << 40 }, true},
		{"with what waits just enough", func(d *trial) { d.Receiver.Queue, d.Way.Queued = filled, 4000 }, true},
		{"with what waits too much", func(d *trial) { d.Receiver.Queue, d.Way.Queued = filled, 4001 }, false},
		{"the largest there could be", func(d *trial) { d.Len = 0xffffffff }, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			var d trial
			d.Way.Credit, d.Len = 5000, 1000
			d.Target.WriteSeq, d.Receiver.RcvNxt, d.Receiver.CopiedSeq = 7000, 7000, 7000
			d.Receiver.State, d.Receiver.Queue = established, empty
			c.change(&d)
			decide(t, p, &d)
			if got := d.Delivered != 0; got != c.want {
				t.Errorf("got %t", got)
			}
		})
	}
}

// TestSettle: what is in the target's write queue beside the 500 bytes that were relayed
// was redirected, whatever was counted.
func TestSettle(t *testing.T) {
	p := loadLocalTrials(t)
	for _, c := range []struct {
		name    string
		counted uint64
		written uint32 // by the target, from the beginning of its numbers
		want    uint64
	}{
		{"nothing", 0, 500, 0},
		{"all as counted", 700, 1200, 700},
		{"the kernel had no memory", 700, 900, 400},
		{"nor for any", 700, 500, 0},
		{"after 8 GiB", 2<<32 + 700, 1200, 2<<32 + 700},
		{"after 8 GiB, without memory", 2<<32 + 7, 497, 2<<32 - 3},
	} {
		t.Run(c.name, func(t *testing.T) {
			var d decideLocalLocalTrial
			d.Way.Target, d.Note.Target, d.Target.Cookie = 77, 77, 77
			d.Way.Relayed, d.Sender.WriteSeq = 500, 500
			d.Target.State, d.Target.Room, d.Len = 1, 1<<20, 1
			d.Note.Start = 0xfffffff0
			d.Target.WriteSeq = d.Note.Start + c.written
			d.Way.Redirected = c.counted
			decide(t, p, &d)
			if d.Way.Redirected != c.want {
				t.Errorf("settled at %d, want %d", d.Way.Redirected, c.want)
			}
		})
	}
}

// TestAgree: the receiver has something between what it has acknowledged and what was
// sent.
func TestAgree(t *testing.T) {
	p := loadLocalTrials(t)
	for _, c := range []struct {
		name                  string
		sndUna, next, written uint32
		want                  bool
	}{
		{"nothing is on its way", 500, 500, 500, true},
		{"all is", 500, 500, 900, true},
		{"the acknowledgement is", 500, 900, 900, true},
		{"over the wrap", 0xfffffff0, 0, 16, true},
		{"more came than was sent", 500, 901, 900, false},
		{"less came than was acknowledged", 500, 499, 900, false},
		{"numbers of another stream", 500, 500 + 1<<31, 900, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := decideLocalLocalTrial{SndUna: c.sndUna, RcvNxt: c.next}
			d.Sender.WriteSeq = c.written
			decide(t, p, &d)
			if d.Agreed != 0 != c.want {
				t.Errorf("got %t", !c.want)
			}
		})
	}
}

// TestLocalLayout compares what the programs and userspace share.
func TestLocalLayout(t *testing.T) {
	spec, err := loadLocal()
	if err != nil {
		t.Fatal(err)
	}
	typ := reflect.TypeFor[slot.Local]()
	want := map[string][2]uint32{"": {0, uint32(typ.Size())}}
	for f := range typ.Fields() {
		if f.Name != "_" {
			want[snake(f.Name)] = [2]uint32{uint32(f.Offset), uint32(f.Type.Size())}
		}
	}
	if diff := cmp.Diff(want, btfLayout(t, spec.Types, "local_way")); diff != "" {
		t.Errorf("layout (- Go, + C):\n%s", diff)
	}
}

// TestLocalNames compares the enumerations of the local path, whose names are the same
// but for their case.
func TestLocalNames(t *testing.T) {
	spec, err := loadLocal()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		enum, prefix string
		number       uint64
		name         func(uint64) string
	}{
		{"local_reason", "LOCAL_", uint64(slot.Messages), func(n uint64) string { return slot.Message(n).String() }},
		{"enrolled", "ENROLLED_", uint64(slot.EnrolledReasons), func(n uint64) string { return slot.Enrolled(n).String() }},
	} {
		var e *btf.Enum
		if err := spec.Types.TypeByName(c.enum, &e); err != nil {
			t.Fatal(err)
		}
		if len(e.Values) != int(c.number)+1 {
			t.Errorf("%s: %d values in C, %d in Go", c.enum, len(e.Values)-1, c.number)
		}
		for _, v := range e.Values {
			name := strings.ToLower(strings.TrimPrefix(v.Name, c.prefix))
			if got := c.name(v.Value); v.Value < c.number && got != name {
				t.Errorf("%s %d is %q in Go and %q in C", c.enum, v.Value, got, name)
			}
		}
	}
}

// TestReceiversStay: what is in the kernel's hands when userspace goes is let go of at
// once, but for receivers, with which it is when they are closed.
func TestReceiversStay(t *testing.T) {
	needRoot(t)
	for _, credit := range []uint64{0, 1000} {
		l, err := LoadLocal(4)
		if err != nil {
			t.Fatal(err)
		}
		closeAll := enrolPair(t, l, credit)
		defer closeAll()
		info, err := l.objects.SluiceSend.Info()
		if err != nil {
			t.Fatal(err)
		}
		id, _ := info.ID()
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		if credit > 0 {
			time.Sleep(50 * time.Millisecond)
			if !isLoaded(id) {
				t.Log("this kernel lets go of receivers, too")
			}
			closeAll()
		}
		for start := time.Now(); isLoaded(id); time.Sleep(time.Millisecond) {
			if time.Since(start) > 30*time.Second {
				t.Fatalf("credit %d: the program is still loaded", credit)
			}
		}
	}
}

func isLoaded(id ebpf.ProgramID) bool {
	p, err := ebpf.NewProgramFromID(id)
	if err == nil {
		p.Close()
	}
	return err == nil
}

// enrolPair enrols the peers of two connections as those of a flow.
func enrolPair(t *testing.T, l *Local, credit uint64) (closeAll func()) {
	t.Helper()
	listen, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listen.Close()
	var all []net.Conn
	var own [2]*net.TCPConn
	var cookies [2]uint64
	for i := range own {
		peer, err := net.Dial("tcp4", listen.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		accepted, err := listen.Accept()
		if err != nil {
			t.Fatal(err)
		}
		own[i] = accepted.(*net.TCPConn)
		all = append(all, peer, accepted)
		cookies[i] = insert(t, l, own[i])
	}
	for i := range own {
		w := &l.Ways()[i]
		w.Target.Store(cookies[1-i])
		w.Credit.Store(credit)
		from, to := own[i].LocalAddr().(*net.TCPAddr), own[i].RemoteAddr().(*net.TCPAddr)
		if answer, err := l.Enrol(from.AddrPort(), to.AddrPort(), cookies[i], cookies[1-i], uint32(i)); answer != slot.Enrolls || err != nil {
			t.Fatal(answer, err)
		}
	}
	return func() {
		for _, c := range all {
			c.Close()
		}
	}
}

func insert(t *testing.T, l *Local, c *net.TCPConn) (cookie uint64) {
	t.Helper()
	raw, err := c.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	e := raw.Control(func(fd uintptr) {
		if cookie, err = unix.GetsockoptUint64(int(fd), unix.SOL_SOCKET, unix.SO_COOKIE); err == nil {
			err = l.Insert(cookie, int(fd))
		}
	})
	if e != nil || err != nil {
		t.Fatal(e, err)
	}
	return cookie
}

// TestFindNobody: without a connection between two addresses, there is nobody.
func TestFindNobody(t *testing.T) {
	needRoot(t)
	l, err := LoadLocal(4)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for _, a := range []string{"127.0.0.1", "::1", "::ffff:127.0.0.1"} {
		own, other := netip.AddrPortFrom(netip.MustParseAddr(a), 1), netip.AddrPortFrom(netip.MustParseAddr(a), 2)
		if found, err := l.Find(own, other); found || err != nil {
			t.Errorf("%s: %t, %v", a, found, err)
		}
		if answer, err := l.Enrol(own, other, 1, 2, 0); answer != slot.Absent || err != nil {
			t.Errorf("%s: %v, %v", a, answer, err)
		}
	}
}
