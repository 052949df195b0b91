package accesslog

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"sluice/userspace/flow"
	"sluice/userspace/route"
)

// What a line begins with: the time, which is that of the flow's end, and the
// level.
const (
	infoJSON = `{"time":"2026-01-02T03:04:07Z","level":"INFO","msg":"flow",`
	warnJSON = `{"time":"2026-01-02T03:04:07Z","level":"WARN","msg":"flow",`
	infoText = `time=2026-01-02T03:04:07.000Z level=INFO msg=flow `
	warnText = `time=2026-01-02T03:04:07.000Z level=WARN msg=flow `
)

func TestLines(t *testing.T) {
	tests := []struct {
		name       string
		flow       func() *flow.Flow
		json, text string
	}{
		{
			"carried",
			func() *flow.Flow { return carried(7) },
			infoJSON + `"id":7,"listener":"192.0.2.1:8443","source":"198.51.100.2:56324",` +
				`"sni":"api.default.dc2.internal.test.consul","alpn":"h2","tls":"1.3",` +
				`"route":"*.dc2.internal.test.consul","cluster":"dc2","endpoint":"[2001:db8::3]:8443","path":"splice",` +
				`"sent":1234,"received":5497558138880,"duration_ms":2000,"hello_ms":1.5,"connect_ms":0.25,` +
				`"attempts":2,"reason":"closed"}`,
			infoText + `id=7 listener=192.0.2.1:8443 source=198.51.100.2:56324 ` +
				`sni=api.default.dc2.internal.test.consul alpn=h2 tls=1.3 ` +
				`route=*.dc2.internal.test.consul cluster=dc2 endpoint=[2001:db8::3]:8443 path=splice ` +
				`sent=1234 received=5497558138880 duration_ms=2000 hello_ms=1.5 connect_ms=0.25 ` +
				`attempts=2 reason=closed`,
		},
		{
			"of another source, and cut",
			func() *flow.Flow {
				f := carried(7)
				f.Source = netip.MustParseAddrPort("[2001:db8::9]:1")
				f.ALPN, f.Version = "", 0x0303
				f.End, f.Detail = flow.UpstreamReset, "read: connection reset by peer"
				return f
			},
			infoJSON + `"id":7,"listener":"192.0.2.1:8443","peer":"198.51.100.2:56324","source":"[2001:db8::9]:1",` +
				`"sni":"api.default.dc2.internal.test.consul","tls":"1.2",` +
				`"route":"*.dc2.internal.test.consul","cluster":"dc2","endpoint":"[2001:db8::3]:8443","path":"splice",` +
				`"sent":1234,"received":5497558138880,"duration_ms":2000,"hello_ms":1.5,"connect_ms":0.25,` +
				`"attempts":2,"reason":"upstream_reset","detail":"read: connection reset by peer"}`,
			infoText + `id=7 listener=192.0.2.1:8443 peer=198.51.100.2:56324 source=[2001:db8::9]:1 ` +
				`sni=api.default.dc2.internal.test.consul tls=1.2 ` +
				`route=*.dc2.internal.test.consul cluster=dc2 endpoint=[2001:db8::3]:8443 path=splice ` +
				`sent=1234 received=5497558138880 duration_ms=2000 hello_ms=1.5 connect_ms=0.25 ` +
				`attempts=2 reason=upstream_reset detail="read: connection reset by peer"`,
		},
		{
			"unknown name",
			func() *flow.Flow {
				f := refused(flow.UnknownName)
				f.SNI, f.Version, f.HelloIn = "nobody.test", 0x0301, time.Second
				return f
			},
			warnJSON + `"id":8,"listener":"192.0.2.1:8443","source":"198.51.100.2:56324","sni":"nobody.test","tls":"1.0",` +
				`"sent":0,"received":0,"duration_ms":2000,"hello_ms":1000,"connect_ms":0,"attempts":0,"reason":"unknown_name"}`,
			warnText + `id=8 listener=192.0.2.1:8443 source=198.51.100.2:56324 sni=nobody.test tls=1.0 ` +
				`sent=0 received=0 duration_ms=2000 hello_ms=1000 connect_ms=0 attempts=0 reason=unknown_name`,
		},
		{
			"connect failed",
			func() *flow.Flow {
				f := refused(flow.ConnectFailed)
				f.SNI, f.Route, f.Cluster = "a.test", &route.Route{Name: "a.test"}, &route.Cluster{Name: "a"}
				f.Upstream, f.Attempts, f.Detail = netip.MustParseAddrPort("192.0.2.3:1"), 3, "connection refused"
				return f
			},
			warnJSON + `"id":8,"listener":"192.0.2.1:8443","source":"198.51.100.2:56324","sni":"a.test",` +
				`"route":"a.test","cluster":"a","endpoint":"192.0.2.3:1",` +
				`"sent":0,"received":0,"duration_ms":2000,"hello_ms":0,"connect_ms":0,"attempts":3,` +
				`"reason":"connect_failed","detail":"connection refused"}`,
			warnText + `id=8 listener=192.0.2.1:8443 source=198.51.100.2:56324 sni=a.test ` +
				`route=a.test cluster=a endpoint=192.0.2.3:1 ` +
				`sent=0 received=0 duration_ms=2000 hello_ms=0 connect_ms=0 attempts=3 ` +
				`reason=connect_failed detail="connection refused"`,
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			expectLines(t, "json", []*flow.Flow{test.flow()}, test.json)
			expectLines(t, "text", []*flow.Flow{test.flow()}, test.text)
		})
	}
}

// refused is a flow of which nothing is known but where it came from.
func refused(end flow.End) *flow.Flow {
	f := carried(8)
	return &flow.Flow{ID: 8, Local: f.Local, Peer: f.Peer, Source: f.Source, Start: f.Start, Duration: f.Duration, End: end}
}

// TestEnds has a line for each way to end, probes excepted: refusals are warnings.
func TestEnds(t *testing.T) {
	var flows []*flow.Flow
	var inJSON, inText []string
	for _, end := range flow.Ends() {
		headJSON, headText := infoJSON, infoText
		if end < flow.Closed {
			headJSON, headText = warnJSON, warnText
		}
		flows = append(flows, refused(end))
		if end == flow.Probe {
			continue
		}
		inJSON = append(inJSON, fmt.Sprintf(`%s"id":8,"listener":"192.0.2.1:8443","source":"198.51.100.2:56324",`+
			`"sent":0,"received":0,"duration_ms":2000,"hello_ms":0,"connect_ms":0,"attempts":0,"reason":"%s"}`, headJSON, end))
		inText = append(inText, fmt.Sprintf(`%sid=8 listener=192.0.2.1:8443 source=198.51.100.2:56324 `+
			`sent=0 received=0 duration_ms=2000 hello_ms=0 connect_ms=0 attempts=0 reason=%s`, headText, end))
	}
	expectLines(t, "json", flows, inJSON...)
	expectLines(t, "text", flows, inText...)
}

// TestHostileText has a client that would like to write lines of its own.
func TestHostileText(t *testing.T) {
	f := refused(flow.BadHello)
	f.ALPN = "h2\nlevel=INFO \"x\"\xff\x00"
	expectLines(t, "text", []*flow.Flow{f}, warnText+
		`id=8 listener=192.0.2.1:8443 source=198.51.100.2:56324 alpn="h2\nlevel=INFO \"x\"\xff\x00" `+
		`sent=0 received=0 duration_ms=2000 hello_ms=0 connect_ms=0 attempts=0 reason=bad_hello`)

	place := temp(t)
	l := start(t, place, "json", quiet)
	l.Ended(f)
	finish(t, l)
	var line struct{ ALPN string }
	if err := json.Unmarshal([]byte(content(t, place)), &line); err != nil || line.ALPN != "h2\nlevel=INFO \"x\"\ufffd\x00" {
		t.Errorf("read %q, %v", line.ALPN, err)
	}
}

func TestVersionName(t *testing.T) {
	for v, want := range map[uint16]string{
		0: "", 0x0002: "", 0x0300: "", 0x0301: "1.0", 0x0302: "1.1", 0x0303: "1.2", 0x0304: "1.3", 0x0305: "1.4", 0x0400: "", 0x7f1c: "", 0xfefd: "",
	} {
		if got := versionName(v); got != want {
			t.Errorf("%#04x: %q, want %q", v, got, want)
		}
	}
}

// expectLines has these flows end and compares all that is logged.
func expectLines(t *testing.T, format string, flows []*flow.Flow, want ...string) {
	t.Helper()
	place := temp(t)
	l := start(t, place, format, quiet)
	for _, f := range flows {
		l.Ended(f)
	}
	finish(t, l)
	if got, want := content(t, place), strings.Join(want, "\n")+"\n"; got != want {
		t.Errorf("logged\n%swant\n%s", got, want)
	}
}
