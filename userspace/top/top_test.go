package top

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	tea "github.com/charmbracelet/bubbletea"

	"sluice/userspace/admin"
	"sluice/userspace/gateway"
)

// fake is an agent with some flows.
type fake struct {
	flows []*admin.Flow
	err   error
	asked int
}

func (f *fake) Status(context.Context) (*admin.Status, error) {
	f.asked++
	return &admin.Status{
		Version: "1.2", Instance: "default", State: "ready", Flows: len(f.flows),
		Table: &admin.Table{Version: 7, Source: "xds", Routes: 12, Age: 240},
		Rates: admin.Rates{Flows: 3, Sent: 1_500_000, Received: float64(f.asked)},
	}, f.err
}

func (f *fake) Flows(context.Context, gateway.Selection, admin.Order) ([]*admin.Flow, error) {
	return f.flows, f.err
}

func some() []*admin.Flow {
	now := time.Now()
	flow := func(id uint64, route, path string, rate float64, bytes uint64, old time.Duration) *admin.Flow {
		return &admin.Flow{
			ID: id, SNI: route, Route: route, Path: path, State: "carried", Endpoint: "10.0.0.1:20000",
			Source: netip.MustParseAddrPort("10.9.0.1:40000"), SentRate: rate, Sent: bytes, Start: now.Add(-old),
			UpstreamTCP: &admin.TCP{RTT: 0.0015},
		}
	}
	return []*admin.Flow{
		flow(1, "web.x", "splice", 1000, 5_000_000, time.Hour),
		flow(2, "web.x", "sockmap", 2000, 10, time.Second),
		flow(3, "api.x", "splice", 2500, 100, 3*24*time.Hour),
		{ID: 4, State: "hello", Source: netip.MustParseAddrPort("10.9.0.2:1"), Start: now},
	}
}

// play gives the model messages, and runs what it asks for, but for the waiting.
func play(t *testing.T, m *Model, msgs ...tea.Msg) string {
	t.Helper()
	for _, msg := range msgs {
		next, cmd := m.Update(msg)
		m = next.(*Model)
		if _, tick := msg.(turn); cmd != nil && !tick {
			if answer := cmd(); answer != nil {
				play(t, m, answer)
			}
		}
	}
	return m.View()
}

func key(s string) tea.Msg {
	if s == "tab" {
		return tea.KeyMsg{Type: tea.KeyTab}
	}
	return tea.KeyMsg{Type: tea.KeyRunes, Runes: []rune(s)}
}

// order of the first words of the rows.
func first(view string, field int) string {
	var names []string
	for _, line := range strings.Split(view, "\n")[header:] {
		if f := strings.Fields(line); len(f) > field && !strings.HasPrefix(line, "tab ") {
			names = append(names, f[field])
		}
	}
	return strings.Join(names, " ")
}

func TestScreen(t *testing.T) {
	f := &fake{flows: some()}
	m := New(t.Context(), f, time.Second)
	if got := m.View(); !strings.Contains(got, "asking the agent") {
		t.Errorf("at first:\n%s", got)
	}
	view := play(t, m, tea.WindowSizeMsg{Width: 120, Height: 12}, m.Init()())
	for _, want := range []string{"ready; table 7 from xds, 12 routes, 4m old; 4 flows; routes by rate", "1.50M/s  █",
		"sockmap 1, splice 1", "(no route yet)", "not carried 1", "1.5"} {
		if !strings.Contains(view, want) {
			t.Errorf("no %q in\n%s", want, view)
		}
	}
	if lines := strings.Split(view, "\n"); len(lines) != 12 {
		t.Errorf("%d lines on a screen of 12", len(lines))
	}
	if got := first(view, 0); got != "web.x api.x (no" {
		t.Errorf("by rate: %s", got)
	}
	for _, want := range []string{"web.x api.x (no", "web.x (no api.x", "(no api.x web.x", "web.x api.x (no"} {
		if got := first(play(t, m, key("s")), 0); got != want {
			t.Errorf("by %s: %s, want %s", m.by, got, want)
		}
	}
	view = play(t, m, tea.WindowSizeMsg{Width: 160, Height: 12}, key("tab"))
	if got := first(view, 0); got != "3 2 1 4" {
		t.Errorf("flows by rate: %s\n%s", got, view)
	}
	if !strings.Contains(view, "3d  splice") || !strings.Contains(view, "hello") {
		t.Errorf("flows:\n%s", view)
	}
	if got := first(play(t, m, key("s"), key("s")), 0); got != "3 1 2 4" {
		t.Errorf("flows by age: %s", got)
	}
}

func TestSmallScreen(t *testing.T) {
	f := &fake{}
	for i := range 100 {
		f.flows = append(f.flows, &admin.Flow{ID: uint64(i), Route: fmt.Sprintf("r%03d.%s", i, strings.Repeat("long.", 40))})
	}
	m := New(t.Context(), f, time.Second)
	for _, size := range []tea.WindowSizeMsg{{Width: 80, Height: 10}, {Width: 1, Height: 1}, {Width: 0, Height: 0}, {Width: 40, Height: 6}} {
		view := play(t, m, size, m.Init()(), key("j"), key("G"), key("tab"))
		for line := range strings.Lines(view) {
			if n := len([]rune(strings.TrimSuffix(line, "\n"))); n > size.Width {
				t.Errorf("%+v: a line of %d", size, n)
			}
		}
	}
	m = New(t.Context(), f, time.Second)
	view := play(t, m, tea.WindowSizeMsg{Width: 90, Height: 10}, m.Init()(), tea.KeyMsg{Type: tea.KeyPgDown}, key("j"))
	if got := first(view, 0); !strings.HasPrefix(got, "r004") {
		t.Errorf("scrolled by 4: %s", got)
	}
	for range 50 {
		view = play(t, m, tea.KeyMsg{Type: tea.KeyPgDown})
	}
	if got := first(view, 0); !strings.Contains(got, "r099") {
		t.Errorf("at the end: %s", got)
	}
	if view = play(t, m, key("g")); !strings.HasPrefix(first(view, 0), "r000") {
		t.Errorf("at the beginning: %s", view)
	}
}

func TestPause(t *testing.T) {
	f := &fake{flows: some()}
	m := New(t.Context(), f, time.Second)
	play(t, m, m.Init()())
	view := play(t, m, key("p"))
	if !strings.Contains(view, "paused at") {
		t.Errorf("paused:\n%s", view)
	}
	asked := f.asked
	play(t, m, due{}, due{})
	if f.asked != asked {
		t.Error("it was asked while paused")
	}
	if view = play(t, m, key("p")); strings.Contains(view, "paused") || f.asked != asked+1 {
		t.Errorf("asked %d times more after the pause:\n%s", f.asked-asked, view)
	}
	play(t, m, due{})
	if f.asked != asked+2 {
		t.Errorf("asked %d times", f.asked-asked)
	}
}

func TestAgentGone(t *testing.T) {
	f := &fake{flows: some()}
	m := New(t.Context(), f, time.Second)
	play(t, m, m.Init()())
	f.err = errors.New("no agent answers")
	view := play(t, m, due{})
	if !strings.Contains(view, "no answer since") || !strings.Contains(view, "web.x") {
		t.Errorf("what was known is gone:\n%s", view)
	}
	f.err = nil
	if view = play(t, m, due{}); strings.Contains(view, "no answer") {
		t.Errorf("it answers again:\n%s", view)
	}
	m = New(t.Context(), &fake{err: errors.New("is it running?")}, time.Second)
	if view = play(t, m, m.Init()()); !strings.Contains(view, "is it running?") {
		t.Errorf("never there:\n%s", view)
	}
	if cmd := m.key("q"); cmd == nil || cmd() != tea.Quit() {
		t.Error("q does not quit")
	}
}

// TestProgram runs it as a terminal would.
func TestProgram(t *testing.T) {
	var out bytes.Buffer
	f := &fake{flows: some()}
	p := tea.NewProgram(New(t.Context(), f, time.Millisecond), tea.WithContext(t.Context()), tea.WithInput(strings.NewReader("")), tea.WithOutput(&out))
	go func() {
		p.Send(tea.WindowSizeMsg{Width: 100, Height: 20})
		time.Sleep(50 * time.Millisecond)
		p.Send(key("q"))
	}()
	if _, err := p.Run(); err != nil {
		t.Fatal(err)
	}
	if out.Len() == 0 {
		t.Error("nothing was drawn")
	}
}

func TestPlain(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	f := &fake{flows: some()}
	w := &lines{then: func(n int) {
		f.err = errors.New("no agent")
		if n == 2 {
			cancel()
		}
	}}
	if err := Plain(ctx, w, f, time.Millisecond); err != nil {
		t.Error(err)
	}
	text := w.String()
	for _, want := range []string{`state="ready" flows=4 begun_per_s=3.0 sent_per_s=1.50M received_per_s=1 "web.x"=3.00k/s "api.x"=2.50k/s`, `error="no agent"`} {
		if !strings.Contains(text, want) {
			t.Errorf("no %s in\n%s", want, text)
		}
	}
	broken := &lines{err: errors.New("broken pipe")}
	if err := Plain(t.Context(), broken, f, time.Hour); err == nil {
		t.Error("a writer that fails does not end it")
	}
}

// lines is a writer that counts lines.
type lines struct {
	bytes.Buffer
	then func(n int)
	err  error
	n    int
}

func (l *lines) Write(b []byte) (int, error) {
	if l.err != nil {
		return 0, l.err
	}
	n, err := l.Buffer.Write(b)
	l.n++
	l.then(l.n)
	return n, err
}

func TestSpark(t *testing.T) {
	h := history{most: 4}
	if got := h.spark(10); got != "" {
		t.Errorf("nothing is drawn as %q", got)
	}
	for _, v := range []float64{100, 0, 1, 2, 4} {
		h.add(v)
	}
	if got := h.spark(10); got != "▁▂▄█" {
		t.Errorf("drawn as %q", got)
	}
	if got := h.spark(2); got != "▄█" {
		t.Errorf("the last two: %q", got)
	}
	h = history{values: []float64{0, 0}, most: 4}
	if got := h.spark(10); got != "▁▁" {
		t.Errorf("zeros: %q", got)
	}
}

func TestSize(t *testing.T) {
	for n, want := range map[float64]string{
		0: "0", 999: "999", 1000: "1.00k", 1234: "1.23k", 12_345: "12.3k", 123_456: "123k", 999_999: "1.00M", 5e9: "5.00G", 1.8e19: "18.0E",
	} {
		if got := size(n); got != want {
			t.Errorf("%g is %s, want %s", n, got, want)
		}
	}
}
