package lab_test

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"sluice/scripts/lab"
	"sluice/scripts/lab/labtest"
)

// ownerEnv makes the test binary build a lab and wait to be killed.
const ownerEnv = "SLUICE_LAB_OWNER"

func TestMain(m *testing.M) {
	os.Setenv("PATH", os.Getenv("PATH")+":/usr/sbin") // nft's, and not on every root's path
	if os.Getenv(ownerEnv) != "" {
		if err := own(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	os.Exit(m.Run())
}

// own builds a lab with a process, a file and mounts in it, tells of them, and waits.
func own() error {
	l, err := lab.New("sluice-test", lab.Options{})
	if err != nil {
		return err
	}
	sleep := exec.Command("sleep", "600")
	if err := l.NS("dc2").Start(sleep); err != nil {
		return err
	}
	marker, err := os.CreateTemp(l.Dir, "marker-*")
	if err != nil {
		return err
	}
	for _, name := range []string{"mount", "mount/below"} {
		dir := filepath.Join(l.Dir, name)
		if err := os.Mkdir(dir, 0o755); err != nil {
			return err
		}
		if err := unix.Mount("tmpfs", dir, "tmpfs", 0, ""); err != nil {
			return err
		}
	}
	fmt.Println(l.ID, sleep.Process.Pid, marker.Name())
	select {}
}

// TestOwnerKilled checks that the next New removes all that an owner left which
// had no chance to, and does not touch it before.
func TestOwnerKilled(t *testing.T) {
	labtest.NeedRoot(t)
	labtest.NoLeaks(t)
	owner := exec.Command("/proc/self/exe")
	owner.Env = append(os.Environ(), ownerEnv+"=1")
	owner.Stderr = os.Stderr
	out, err := owner.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := owner.Start(); err != nil {
		t.Fatal(err)
	}
	defer owner.Process.Kill()
	var id, marker string
	var pid int
	if _, err := fmt.Fscan(bufio.NewReader(out), &id, &pid, &marker); err != nil {
		t.Fatalf("the owner did not build a lab: %v", err)
	}
	left := []string{marker, fmt.Sprintf("/proc/%d/exe", pid)}
	for _, name := range []string{"client", "dc1", "dc2", "server"} {
		left = append(left, filepath.Join("/run/netns", id+"-"+name))
	}

	labtest.New(t, "a") // must leave the lab of the living alone
	for _, path := range left {
		if _, err := os.Stat(path); err != nil {
			t.Errorf("while its owner lives: %v", err)
		}
	}
	if err := owner.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	owner.Wait()
	labtest.New(t, "a") // may well get the lab's number
	for _, path := range left {
		if _, err := os.Stat(path); err == nil {
			t.Errorf("%s is still there after its owner was killed", path)
		}
	}
}
