// Package vm runs static programs, such as a package's tests, on kernels other than
// the host's: as the work of a virtual machine that has nothing but that kernel, a
// small init (guest), and the programs.
//
//	kernel    found in Debian, by apt's own means, and kept in the user's cache
//	archive   the machine's root: init, modules, programs, tools with their libraries
//	machine   qemu without hardware virtualisation, so that it runs everywhere
//	report    what the tests said, one by one, and what the kernel complained about
//
// The kernel has one serial line to itself and the programs have another, so that
// neither cuts the other's lines in two. Nothing is shared with the host, no network
// and no disk, and a machine is gone when its last program has ended.
//
// A test that is skipped does not count as one that passed: see Report.
package vm
