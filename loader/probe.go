package loader

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/features"
	"github.com/cilium/ebpf/rlimit"
)

// Feature is something that the sockmap path needs of the system.
type Feature struct {
	Name string
	Err  error // nil when it is there, and otherwise why not
}

// Probe tries everything that the path needs, and tells of all of it: what is
// missing, and what to do. It never looks at the kernel's version. What is left
// to try is the loading itself, and then the path's self-test.
func Probe(root string) []Feature {
	if root == "" {
		root = DefaultRoot
	}
	_ = rlimit.RemoveMemlock() // a failure shows in what follows
	found := []Feature{
		{"bpf file system", checkBPFFS(root)},
		{"kernel types (BTF)", checkTypes()},
		{"sk_skb programs", features.HaveProgramType(ebpf.SkSKB)},
	}
	for _, m := range []ebpf.MapType{ebpf.SockHash, ebpf.Hash, ebpf.Array, ebpf.PerCPUArray, ebpf.ArrayOfMaps, ebpf.RingBuf} {
		found = append(found, Feature{m.String() + " maps", features.HaveMapType(m)})
	}
	found = append(found, Feature{"mmapable maps", features.HaveMapFlag(features.BPF_F_MMAPABLE)})
	for _, fn := range []asm.BuiltinFunc{
		asm.FnSkRedirectHash, asm.FnSkbAdjustRoom, asm.FnGetSocketCookie,
		asm.FnSkcToTcpSock, asm.FnRingbufOutput, asm.FnKtimeGetCoarseNs, asm.FnProbeReadKernel,
	} {
		found = append(found, Feature{"helper " + fn.String(), features.HaveProgramHelper(ebpf.SkSKB, fn)})
	}
	for i := range found {
		found[i].Err = explain(found[i].Err)
	}
	return found
}

// Missing joins what Probe did not find, nil for nothing.
func Missing(found []Feature) error {
	var errs []error
	for _, f := range found {
		if f.Err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", f.Name, f.Err))
		}
	}
	return errors.Join(errs...)
}

// explain adds to an error what would help.
func explain(err error) error {
	switch {
	case errors.Is(err, ebpf.ErrNotSupported):
		return fmt.Errorf("this kernel does not have it: %w", err)
	case errors.Is(err, errPermission):
		return fmt.Errorf("CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON are needed: %w", err)
	}
	return err
}

// checkTypes looks whether the kernel describes its types, and has those that the
// program depends on beyond what relocation can mend: __sk_buff shows the program
// the beginning of a packet's notes, and TCP has its sequence numbers there.
func checkTypes() error {
	spec, err := btf.LoadKernelSpec()
	if err != nil {
		return fmt.Errorf("the kernel does not tell of its types (CONFIG_DEBUG_INFO_BTF): %w", err)
	}
	for _, want := range []struct {
		typ, member string
		offset      uint32
	}{
		{"tcp_skb_cb", "seq", 0},
		{"tcp_skb_cb", "end_seq", 4},
		{"sk_skb_cb", "data", 0},
	} {
		offset, err := memberOffset(spec, want.typ, want.member)
		if err != nil {
			return err
		}
		if offset != want.offset {
			return fmt.Errorf("%s.%s is at %d, not at %d", want.typ, want.member, offset, want.offset)
		}
	}
	return nil
}

// memberOffset is where a struct of the kernel's has a member, in bytes.
func memberOffset(spec *btf.Spec, name, member string) (uint32, error) {
	var s *btf.Struct
	if err := spec.TypeByName(name, &s); err != nil {
		return 0, fmt.Errorf("find struct %s: %w", name, err)
	}
	for _, m := range s.Members {
		if m.Name == member {
			return m.Offset.Bytes(), nil
		}
	}
	return 0, fmt.Errorf("struct %s has no member %s", name, member)
}
