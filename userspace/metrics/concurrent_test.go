package metrics

import (
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"sluice/userspace/flow"
)

// TestConcurrent has several loops count while Prometheus reads: nothing gets
// lost, not even of a path that all of them meet first at the same time.
func TestConcurrent(t *testing.T) {
	const loops, rounds = 4, 1000
	m := new(world).metrics()
	before := values(t, m)

	stop := make(chan struct{})
	var reader, counting sync.WaitGroup
	reader.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				if _, err := m.registry.Gather(); err != nil {
					t.Error(err)
					return
				}
			}
		}
	})
	for range loops {
		counting.Go(func() {
			f := carried()
			f.Path = "sockmap"
			for range rounds {
				m.Ended(f)
				m.Ended(&flow.Flow{End: flow.LimitFlows})
				m.ConnectAttempt()
				m.ConnectFailure(unix.ECONNREFUSED)
				m.AcceptError(unix.EMFILE)
				m.Reloaded(nil)
			}
		})
	}
	counting.Wait()
	close(stop)
	reader.Wait()

	const n = loops * rounds
	before["sluice_path_flows_total sockmap"] = 0 // a path that was not known
	expectChange(t, before, values(t, m), map[string]float64{
		"sluice_flows_total closed":             n,
		"sluice_path_flows_total sockmap":       n,
		"sluice_hello_seconds_count":            n,
		"sluice_hello_seconds_sum":              2 * n,
		"sluice_connect_seconds_count":          n,
		"sluice_connect_seconds_sum":            4 * n,
		"sluice_flow_seconds_count":             n,
		"sluice_flow_seconds_sum":               8 * n,
		"sluice_flows_total limit_flows":        n,
		"sluice_refusals_total limit_flows":     n,
		"sluice_connect_attempts_total":         n,
		"sluice_connect_failures_total refused": n,
		"sluice_accept_errors_total emfile":     n,
		"sluice_table_reloads_total ok":         n,
	})
}
