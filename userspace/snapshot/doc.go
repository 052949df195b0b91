// Package snapshot is the table on disk, with which a gateway that starts while
// Consul is away begins where the last one was.
//
// The file is text, a line for each thing, so that one can look at it with head and
// compare two of them with diff:
//
//	sluice-table 1
//	{"source":"xds","identity":"dc1/gw","listeners":["10.0.0.1:8443"],"written":"2026-01-02T03:04:05Z","routes":1,"clusters":1}
//	{"cluster":{"name":"web","policy":"round_robin",...,"endpoints":[{"addrs":["10.0.0.9:20000"],"weight":1,"health":"passing"}]}}
//	{"route":{"name":"web.default.dc1.internal.x.consul","cluster":"web"}}
//	sha256 5f0c...
//
// The first line has the number of the format, and the last one the checksum of all
// lines before it. A file that is not whole, not ours, or of a format to come is
// refused as a whole: half a table would be a wrong one.
//
// Write replaces the file in one step, so a crash leaves the old one or the new one.
// A Keeper does that in the background with the newest table, seldom enough that a
// busy mesh does not wear the disk.
package snapshot
