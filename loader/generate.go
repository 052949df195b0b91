package loader

//go:generate ../scripts/bpf.sh
