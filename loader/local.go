package loader

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/features"
	"github.com/cilium/ebpf/link"
	"github.com/cilium/ebpf/rlimit"
	"golang.org/x/sys/unix"

	"sluice/userspace/slot"
)

// Local is the local path's programs and their maps, loaded by this process. Nothing
// of it is pinned: when the process ends, however it does, the kernel takes the
// sockets of others out of the maps, and they are as they were before; but receivers,
// whose connections the end of the process resets, when they are closed. All methods but
// Close can be used at the same time.
type Local struct {
	objects localObjects
	memory  []byte // of the ways
	ways    []slot.Local
}

// ProbeLocal tries what the local path needs of the system beside what Probe tries.
func ProbeLocal() []Feature {
	_ = rlimit.RemoveMemlock() // a failure shows in what follows
	found := []Feature{
		{"sk_msg programs", features.HaveProgramType(ebpf.SkMsg)},
		{"socket storage", features.HaveMapType(ebpf.SkStorage)},
	}
	for _, need := range []struct {
		kind ebpf.ProgramType
		fn   asm.BuiltinFunc
	}{
		{ebpf.SkMsg, asm.FnMsgRedirectHash}, {ebpf.SkMsg, asm.FnSkStorageGet}, {ebpf.SkMsg, asm.FnProbeReadKernel},
		{ebpf.SchedCLS, asm.FnSkLookupTcp}, {ebpf.SchedCLS, asm.FnSkcToTcpSock},
	} {
		found = append(found, Feature{"helper " + need.fn.String(), features.HaveProgramHelper(need.kind, need.fn)})
	}
	for i := range found {
		found[i].Err = explain(found[i].Err)
	}
	return found
}

// LoadLocal loads the local path for this number of flows at a time.
func LoadLocal(flows int) (*Local, error) {
	if err := rlimit.RemoveMemlock(); err != nil {
		return nil, fmt.Errorf("raise the limit of locked memory: %w", err)
	}
	spec, err := loadLocal()
	if err != nil {
		return nil, fmt.Errorf("read the built-in programs: %w", err)
	}
	for _, name := range []string{"senders", "targets", "local_ways"} {
		spec.Maps[name].MaxEntries = uint32(2 * flows)
	}
	// What a flow is over for may stay open with its other end for long.
	spec.Maps["senders"].MaxEntries *= 2
	spec.Maps["receivers"].MaxEntries = spec.Maps["senders"].MaxEntries
	l := new(Local)
	if err := spec.LoadAndAssign(&l.objects, nil); err != nil {
		return nil, fmt.Errorf("load the programs: %w", err)
	}
	if err := l.attach(); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

func (l *Local) attach() error {
	err := link.RawAttachProgram(link.RawAttachProgramOptions{
		Target:  l.objects.Senders.FD(),
		Program: l.objects.SluiceSend,
		Attach:  ebpf.AttachSkMsgVerdict,
	})
	if err != nil {
		return fmt.Errorf("attach the program to the senders: %w", err)
	}
	if l.memory, err = mapMemory(l.objects.LocalWays); err != nil {
		return fmt.Errorf("map the ways: %w", err)
	}
	l.ways = unsafe.Slice((*slot.Local)(unsafe.Pointer(unsafe.SliceData(l.memory))), l.objects.LocalWays.MaxEntries())
	return nil
}

// Ways is the memory shared with the program, valid until Close.
func (l *Local) Ways() []slot.Local { return l.ways }

// Insert makes one of the gateway's sockets known to the programs, for as long as it
// lives.
func (l *Local) Insert(cookie uint64, fd int) error {
	if err := l.objects.Targets.Update(cookie, uint64(fd), ebpf.UpdateNoExist); err != nil {
		return fmt.Errorf("insert a socket: %w", err)
	}
	return nil
}

// Find tells whether the other end of a connection is a socket of this network
// namespace, given the addresses of the gateway's own end and of that one.
func (l *Local) Find(own, other netip.AddrPort) (bool, error) {
	answer, err := l.ask(own, other, localEnrolment{})
	return answer == slot.Enrolls, err
}

// Enrol gives the program what the other end of a connection sends: the way says where
// to. Near is the cookie of the gateway's end of it, and target that of the socket the
// bytes go to; both must have been inserted, and what was read from the first must
// have been sent on to the second. With a credit in the way, messages may be put into
// the other end's own queue, too. The error unwraps to the kernel's.
func (l *Local) Enrol(own, other netip.AddrPort, near, target uint64, way uint32) (slot.Enrolled, error) {
	e := localEnrolment{Near: near, Target: target, Way: way}
	if l.ways[way].Credit.Load() > 0 {
		e.Direct = 1
	}
	return l.ask(own, other, e)
}

func (l *Local) ask(own, other netip.AddrPort, e localEnrolment) (slot.Enrolled, error) {
	saddr, daddr := own.Addr().Unmap(), other.Addr().Unmap()
	if saddr.Is6() {
		e.V6 = 1
	}
	e.Saddr, e.Daddr = words(saddr), words(daddr)
	e.Sport, e.Dport = networkOrder(own.Port()), networkOrder(other.Port())
	packet, err := binary.Append(nil, binary.NativeEndian, &e)
	if err != nil {
		return 0, fmt.Errorf("write an enrolment: %w", err)
	}
	ret, err := l.objects.SluiceEnrol.Run(&ebpf.RunOptions{Data: packet})
	if err != nil {
		return 0, fmt.Errorf("ask for a sender: %w", err)
	}
	if n := int32(ret); n < 0 {
		return 0, fmt.Errorf("enrol a sender: %w", unix.Errno(-n))
	}
	return slot.Enrolled(ret), nil
}

// Unread tells whether bytes wait in the own queue of a receiver, past TCP. Near is the
// cookie of the gateway's end of the sender's connection.
func (l *Local) Unread(near uint64) (bool, error) {
	packet := make([]byte, 64) // the kernel wants no less
	binary.NativeEndian.PutUint64(packet, near)
	ret, err := l.objects.SluiceUnread.Run(&ebpf.RunOptions{Data: packet})
	if err != nil {
		return false, fmt.Errorf("ask for what a receiver has not read: %w", err)
	}
	if n := int32(ret); n < 0 {
		return false, fmt.Errorf("look at a receiver's queue: %w", unix.Errno(-n))
	}
	return ret != 0, nil
}

// words are an address as the kernel keeps it.
func words(a netip.Addr) (w [4]uint32) {
	b := a.AsSlice()
	for i := range len(b) / 4 {
		w[i] = binary.NativeEndian.Uint32(b[4*i:])
	}
	return w
}

func networkOrder(port uint16) uint16 {
	return binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, port))
}

// Messages sums up over all processors what became of the senders' messages.
func (l *Local) Messages() ([slot.Messages]uint64, error) {
	var sums [slot.Messages]uint64
	for m := range slot.Messages {
		var each []uint64
		if err := l.objects.Messages.Lookup(uint32(m), &each); err != nil {
			return sums, fmt.Errorf("read the counter of %s: %w", m, err)
		}
		for _, n := range each {
			sums[m] += n
		}
	}
	return sums, nil
}

// Senders is how many sockets of others are in the kernel's hands; it counts them.
func (l *Local) Senders() (int, error) { return count(l.objects.Senders) }

// Close frees everything. No flow may be left.
func (l *Local) Close() error {
	if l.memory != nil {
		_ = unix.Munmap(l.memory)
	}
	return l.objects.Close()
}
