package top

import (
	"context"
	"time"

	tea "github.com/charmbracelet/bubbletea"

	"sluice/userspace/admin"
	"sluice/userspace/gateway"
)

// Source is the agent, as package admin's Client asks it.
type Source interface {
	Status(ctx context.Context) (*admin.Status, error)
	Flows(ctx context.Context, which gateway.Selection, order admin.Order) ([]*admin.Flow, error)
}

// turn is what the agent said at a time.
type turn struct {
	at     time.Time
	status *admin.Status
	flows  []*admin.Flow
	err    error
}

// ask is one turn. It takes no longer than patience.
func ask(ctx context.Context, s Source) turn {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	t := turn{at: time.Now()}
	if t.status, t.err = s.Status(ctx); t.err == nil {
		t.flows, t.err = s.Flows(ctx, gateway.Selection{}, admin.Order{})
	}
	return t
}

const (
	patience = 10 * time.Second
	// minute is how many turns the sparklines go back.
	minute = 60
)

// Model is the view as package bubbletea runs it.
type Model struct {
	ctx    context.Context
	source Source
	every  time.Duration

	width, height int
	last          turn
	sent          history // bytes a second
	received      history
	begun         history // flows a second

	flows  bool // it shows flows, and not routes
	by     order
	offset int // first row shown
	paused bool
	asking bool
}

// New makes the view, which asks again after so long.
func New(ctx context.Context, s Source, every time.Duration) *Model {
	m := &Model{ctx: ctx, source: s, every: every, width: 80, height: 24, asking: true}
	m.sent.most, m.received.most, m.begun.most = minute, minute, minute
	return m
}

// due is that it is time for another turn.
type due struct{}

// Init asks for the first time.
func (m *Model) Init() tea.Cmd { return m.ask }

func (m *Model) ask() tea.Msg { return ask(m.ctx, m.source) }

func (m *Model) wait() tea.Cmd {
	return tea.Tick(m.every, func(time.Time) tea.Msg { return due{} })
}

// Update takes a key, the size of the screen, or what the agent said.
func (m *Model) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	switch msg := msg.(type) {
	case tea.WindowSizeMsg:
		m.width, m.height = msg.Width, msg.Height
	case turn:
		m.asking = false
		m.take(msg)
		return m, m.wait()
	case due:
		if m.paused {
			return m, nil // the key asks
		}
		m.asking = true
		return m, m.ask
	case tea.KeyMsg:
		return m, m.key(msg.String())
	}
	return m, nil
}

// take shows a turn. One that failed leaves what was known, and says why.
func (m *Model) take(t turn) {
	if m.paused {
		return
	}
	if t.err != nil {
		m.last.err = t.err
		return
	}
	m.last = t
	m.sent.add(t.status.Rates.Sent)
	m.received.add(t.status.Rates.Received)
	m.begun.add(t.status.Rates.Flows)
}

func (m *Model) key(name string) tea.Cmd {
	page := max(1, m.rows()-1)
	switch name {
	case "q", "ctrl+c", "esc":
		return tea.Quit
	case "tab", "f":
		m.flows, m.offset = !m.flows, 0
	case "s":
		m.by, m.offset = (m.by+1)%orders, 0
	case "p", " ":
		if m.paused = !m.paused; !m.paused && !m.asking {
			m.asking = true
			return m.ask
		}
	case "down", "j":
		m.offset++
	case "up", "k":
		m.offset--
	case "pgdown":
		m.offset += page
	case "pgup":
		m.offset -= page
	case "home", "g":
		m.offset = 0
	}
	m.offset = max(m.offset, 0)
	return nil
}
