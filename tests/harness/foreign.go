package harness

import (
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"

	"sluice/scripts/lab/labtest"
)

// Foreign is a sockmap such as another product on the host may have, with a program that
// is shown what is sent on the sockets in it, and lets it pass. Insert puts a socket into it.
type Foreign struct{ sockets *ebpf.Map }

// NewForeign makes one until the test ends.
func NewForeign(t testing.TB) Foreign {
	t.Helper()
	labtest.NeedRoot(t)
	m, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.SockHash, KeySize: 4, ValueSize: 8, MaxEntries: 16})
	Must(t, err)
	t.Cleanup(func() { m.Close() })
	p, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Type: ebpf.SkMsg, License: "GPL",
		Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 1), asm.Return()}, // SK_PASS
	})
	Must(t, err)
	defer p.Close()
	Must(t, link.RawAttachProgram(link.RawAttachProgramOptions{Target: m.FD(), Program: p, Attach: ebpf.AttachSkMsgVerdict}))
	return Foreign{m}
}

// Insert puts a socket into the map.
func (f Foreign) Insert(fd int) error { return f.sockets.Put(uint32(fd), uint64(fd)) }
