package main

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"time"

	"sluice/userspace/admin"
	"sluice/userspace/config"
)

// reach is how a verb finds the running gateway that it asks.
type reach struct{ instance, socket string }

func (r *reach) register(fs *flag.FlagSet) {
	fs.StringVar(&r.instance, "instance", "", "Ask the gateway of this `name`. None: $SLUICE_INSTANCE, or else default.")
	fs.StringVar(&r.socket, "socket", "", "Ask at this `path`, the gateway's -admin-socket. None: $SLUICE_ADMIN_SOCKET, or else "+admin.SocketOf("INSTANCE")+".")
}

func (r *reach) client(env environment) *admin.Client { return admin.NewClient(r.path(env)) }

// path is the socket of the gateway that was named on the command line, or else in the
// environment.
func (r *reach) path(env environment) string {
	variable := func(flag string) string {
		value, _ := env.lookupEnv(config.EnvName(flag))
		return value
	}
	socket := r.socket
	if socket == "" && r.instance == "" {
		socket = variable("admin-socket")
	}
	return cmp.Or(socket, admin.SocketOf(cmp.Or(r.instance, variable("instance"), "default")))
}

// quantity is a number of bytes for people, such as 1.5MiB.
func quantity(n float64) string {
	units := []string{"B", "KiB", "MiB", "GiB", "TiB", "PiB"}
	i := 0
	for ; n >= 1024 && i < len(units)-1; i++ {
		n /= 1024
	}
	if i == 0 || n >= 100 {
		return fmt.Sprintf("%.0f%s", n, units[i])
	}
	return fmt.Sprintf("%.1f%s", n, units[i])
}

// age is a time that has passed, for people: as exact as it is of use.
func age(d time.Duration) string {
	switch {
	case d < time.Second:
		return d.Round(time.Millisecond).String()
	case d < time.Hour:
		return d.Round(time.Second).String()
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh%02dm", int(d.Hours()), int(d.Minutes())%60)
	}
	return fmt.Sprintf("%dd%02dh", int(d.Hours())/24, int(d.Hours())%24)
}

// seconds is a duration of the admin socket's JSON.
func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

// pause waits, unless ctx ends it.
func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
