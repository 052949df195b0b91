package vm

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sluice/scripts/vm/job"
)

func TestTranscript(t *testing.T) {
	var lines []string
	tr := transcript{line: func(program, text string) { lines = append(lines, program+": "+text) }}
	tr.read(strings.NewReader(job.Event{Kind: job.Up}.Line() +
		job.Event{Kind: job.Begin, Name: "a"}.Line() + "one\r\n\r\ntwo" +
		job.Event{Kind: job.End, Name: "a", Status: 3}.Line() +
		job.Event{Kind: job.Problem, Text: "no b"}.Line() + "cut off"))
	if diff := cmp.Diff([]string{"a: one", "a: ", "a: two", ": cut off"}, lines); diff != "" {
		t.Error(diff)
	}
	if len(tr.run.Programs) != 1 || tr.run.Programs[0].Name != "a" || tr.run.Programs[0].Status != 3 {
		t.Errorf("programs: %+v", tr.run.Programs)
	}
	if tr.problem != "no b" || tr.done {
		t.Errorf("problem %q, done %v", tr.problem, tr.done)
	}
}

// bootVariable, in the environment, lets the tests boot machines, for which qemu and
// a kernel are needed: "make test-kernels" sets it.
const bootVariable = "SLUICE_VM_TEST"

// bootShell boots a machine that runs commands of a shell.
func bootShell(t *testing.T, ctx context.Context, commands ...string) (*Run, string, error) {
	t.Helper()
	if os.Getenv(bootVariable) == "" {
		t.Skipf("boots a virtual machine only with %s=1, as make test-kernels has it", bootVariable)
	}
	guest := filepath.Join(t.TempDir(), "guest")
	build := exec.Command("go", "build", "-o", guest, "sluice/scripts/vm/guest")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	cache, err := CacheDir()
	if err != nil {
		t.Fatal(err)
	}
	k, err := Fetch(ctx, cache, Releases[0], os.Stdout)
	if err != nil {
		t.Fatal(err)
	}
	shell, err := exec.LookPath("sh") // it has the same place in the machine
	if err != nil {
		t.Fatal(err)
	}
	p := Payload{Init: guest, Tools: []string{"sh", "sleep", "cat"}, Modules: []string{"veth"}}
	for _, c := range commands {
		p.Programs = append(p.Programs, job.Program{
			Name: c, Argv: []string{shell, "-c", c}, Dir: "/", Env: []string{"PATH=/usr/bin:/bin"},
		})
	}
	var printed strings.Builder
	m := &Machine{Kernel: k, CPUs: 1, MemoryMiB: 512, Line: func(_, text string) { printed.WriteString(text + "\n") }}
	run, err := m.Run(ctx, p)
	return run, printed.String(), err
}

func TestMachineRunsPrograms(t *testing.T) {
	run, printed, err := bootShell(t, t.Context(),
		"echo one; cat /proc/version", "sleep 1000 & exit 3", "kill -9 $$", "cat /proc/[0-9]*/cmdline; ulimit -n")
	if err != nil {
		t.Fatal(err)
	}
	var statuses []int
	for _, p := range run.Programs {
		statuses = append(statuses, p.Status)
	}
	if want := []int{0, 3, 128 + 9, 0}; !slices.Equal(statuses, want) {
		t.Errorf("statuses %v, want %v", statuses, want)
	}
	if !strings.Contains(printed, "one\nLinux version "+Releases[0].Name) || !strings.Contains(printed, "1048576\n") {
		t.Errorf("printed:\n%s", printed)
	}
	if strings.Contains(printed, "sleep\x001000") {
		t.Error("a process has outlived its program")
	}
	if run.Troubles != nil {
		t.Errorf("troubles: %q", run.Troubles)
	}
}

func TestMachineTellsOfAPanic(t *testing.T) {
	run, _, err := bootShell(t, t.Context(), "echo c >/proc/sysrq-trigger; sleep 1000")
	if err == nil || !strings.Contains(err.Error(), "sysrq triggered crash") {
		t.Errorf("got %v, want the end of the console", err)
	}
	if len(run.Troubles) == 0 || !strings.Contains(run.Troubles[0], "sysrq triggered crash") {
		t.Errorf("troubles: %q", run.Troubles)
	}
}

func TestMachineTellsOfAWarning(t *testing.T) {
	run, _, err := bootShell(t, t.Context(), "echo '<4>WARNING: a test of warnings' >/dev/kmsg")
	if err != nil {
		t.Fatal(err)
	}
	if len(run.Troubles) != 1 || !strings.Contains(run.Troubles[0], "a test of warnings") {
		t.Errorf("troubles: %q", run.Troubles)
	}
}

func TestMachineEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if _, _, err := bootShell(t, ctx, "sleep 1000"); err == nil || ctx.Err() == nil {
		t.Errorf("got %v before the context's end", err)
	}
}
