package main

import (
	"cmp"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"sluice/loader"
	"sluice/userspace/admin"
	"sluice/userspace/config"
)

// reach is how a verb finds the gateway that it is about: what the command line says of
// it.
type reach struct{ instance, socket, dir string }

// register is for verbs that ask the gateway.
func (r *reach) register(fs *flag.FlagSet) {
	r.name(fs)
	fs.StringVar(&r.socket, "socket", "", "Ask at this `path`, the gateway's -admin-socket. None: $SLUICE_ADMIN_SOCKET, or else "+admin.SocketOf("INSTANCE")+".")
}

// registerPins is for verbs that read a gateway's maps.
func (r *reach) registerPins(fs *flag.FlagSet) {
	fs.StringVar(&r.dir, "bpf-dir", "", "Read below this `directory`, the gateway's -bpf-dir. None: $SLUICE_BPF_DIR, or else "+loader.DefaultRoot+".")
}

func (r *reach) name(fs *flag.FlagSet) {
	fs.Func("instance", "Take the gateway of this `name`, its -instance. None: $SLUICE_INSTANCE, or else default.", func(name string) error {
		if name == "" { // of a script's variable that is not set: not meant to be the default
			return errors.New("it is empty")
		}
		r.instance = name
		return nil
	})
}

// pinned is where a gateway has its maps, and where it can be asked.
type pinned struct{ dir, instance, socket string }

// pins is the gateway that was named on the command line, or else in the environment.
func (r *reach) pins(env environment) pinned {
	return pinned{
		dir:      cmp.Or(r.dir, variable(env, "bpf-dir"), loader.DefaultRoot),
		instance: cmp.Or(r.instance, variable(env, "instance"), "default"),
		socket:   r.path(env),
	}
}

func (r *reach) client(env environment) *admin.Client { return admin.NewClient(r.path(env)) }

// path is the socket of that gateway. An instance that is named on the command line is
// not asked at the socket of the environment's.
func (r *reach) path(env environment) string {
	socket := r.socket
	if socket == "" && r.instance == "" {
		socket = variable(env, "admin-socket")
	}
	return cmp.Or(socket, admin.SocketOf(cmp.Or(r.instance, variable(env, "instance"), "default")))
}

// variable is the environment's value for a flag.
func variable(env environment, flag string) string {
	value, _ := env.lookupEnv(config.EnvName(flag))
	return value
}

// missed adds to the error that a gateway is not there which there are, unless it was
// looked for at a socket, of which nobody knows whose it is.
func (r *reach) missed(env environment, err error) error {
	if !errors.Is(err, admin.ErrNoAgent) && !errors.Is(err, os.ErrNotExist) || r.path(env) != admin.SocketOf(r.pins(env).instance) {
		return err
	}
	names := instances(admin.Directory, r.pins(env).dir)
	names = slices.DeleteFunc(names, func(name string) bool { return name == r.pins(env).instance })
	switch len(names) {
	case 0:
		return err
	case 1:
		return fmt.Errorf("%w\nthere is another gateway on this host: -instance=%s", err, names[0])
	}
	return fmt.Errorf("%w\nthere are other gateways on this host, to be chosen by -instance: %s", err, strings.Join(names, ", "))
}

// instances are the gateways that answer at a socket in one directory or have pins below
// the other, sorted.
func instances(sockets, pins string) []string {
	var names []string
	found, _ := filepath.Glob(filepath.Join(sockets, "*.sock"))
	for _, path := range found {
		// A gateway that was killed has left its socket.
		if conn, err := net.Dial("unix", path); err == nil {
			conn.Close()
			names = append(names, strings.TrimSuffix(filepath.Base(path), ".sock"))
		}
	}
	dirs, _ := os.ReadDir(pins) // may be not there, or not ours to read
	for _, d := range dirs {
		if d.IsDir() {
			names = append(names, d.Name())
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}
