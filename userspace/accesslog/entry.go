package accesslog

import (
	"log/slog"
	"net/netip"
	"strconv"
	"time"

	"sluice/userspace/flow"
)

// entry is what a line tells of a flow.
type entry struct {
	id                            uint64
	ended                         time.Time
	local, peer, source, upstream netip.AddrPort
	sni, alpn                     string
	version                       uint16
	route, cluster, path          string
	attempts                      int
	sent, received                uint64
	duration, hello, connect      time.Duration
	end                           flow.End
	detail                        string
}

func newEntry(f *flow.Flow) entry {
	e := entry{
		id:       f.ID,
		ended:    f.Start.Add(f.Duration),
		local:    f.Local,
		peer:     f.Peer,
		source:   f.Source,
		upstream: f.Upstream,
		sni:      f.SNI,
		alpn:     f.ALPN,
		version:  f.Version,
		path:     f.Path,
		attempts: f.Attempts,
		route:    f.RouteName(),
		sent:     f.Sent.Load(),
		received: f.Received.Load(),
		duration: f.Duration,
		hello:    f.HelloIn,
		connect:  f.Connect,
		end:      f.End,
		detail:   f.Detail,
	}
	if f.Cluster != nil {
		e.cluster = f.Cluster.Name
	}
	return e
}

// level makes refusals warnings.
func (e *entry) level() slog.Level {
	if e.end.Refused() {
		return slog.LevelWarn
	}
	return slog.LevelInfo
}

// appendTo adds what the line tells to attrs, in the order of a flow's life.
// Texts that are not known are left out.
func (e *entry) appendTo(attrs []slog.Attr) []slog.Attr {
	attrs = append(attrs, slog.Uint64("id", e.id), slog.String("listener", e.local.String()))
	if e.peer != e.source {
		attrs = append(attrs, slog.String("peer", e.peer.String()))
	}
	attrs = append(attrs, slog.String("source", e.source.String()))
	attrs = appendText(attrs, "sni", e.sni)
	attrs = appendText(attrs, "alpn", e.alpn)
	attrs = appendText(attrs, "tls", versionName(e.version))
	attrs = appendText(attrs, "route", e.route)
	attrs = appendText(attrs, "cluster", e.cluster)
	if e.upstream.IsValid() {
		attrs = append(attrs, slog.String("endpoint", e.upstream.String()))
	}
	attrs = appendText(attrs, "path", e.path)
	attrs = append(attrs,
		slog.Uint64("sent", e.sent),
		slog.Uint64("received", e.received),
		slog.Float64("duration_ms", milliseconds(e.duration)),
		slog.Float64("hello_ms", milliseconds(e.hello)),
		slog.Float64("connect_ms", milliseconds(e.connect)),
		slog.Int("attempts", e.attempts),
		slog.String("reason", e.end.String()),
	)
	return appendText(attrs, "detail", e.detail)
}

func appendText(attrs []slog.Attr, key, value string) []slog.Attr {
	if value == "" {
		return attrs
	}
	return append(attrs, slog.String(key, value))
}

// versionName is a TLS version as people write it, "" for none.
func versionName(v uint16) string {
	if v < 0x0301 || v > 0x03ff {
		return ""
	}
	return "1." + strconv.Itoa(int(v&0xff)-1)
}

// milliseconds is d in ms, to the microsecond.
func milliseconds(d time.Duration) float64 {
	return float64(d.Microseconds()) / 1000
}
