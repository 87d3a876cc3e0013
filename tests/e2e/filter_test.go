package e2e

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// filterVariable has the numbers of the system calls that the program in the arguments may make; what it does beyond
// kills it, as the unit files of the services would have it without SystemCallErrorNumber.
const filterVariable = "TWINREEL_TEST_SYSCALLS"

func TestMain(m *testing.M) {
	if allowed := os.Getenv(filterVariable); allowed != "" {
		fmt.Fprintln(os.Stderr, "run", os.Args[1], "under a filter:", runFiltered(allowed, os.Args[1:]))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// runFiltered becomes the program.
func runFiltered(allowed string, program []string) error {
	const load, jumpIfEqual, ret = unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, unix.BPF_RET | unix.BPF_K
	filter := []unix.SockFilter{{Code: load, K: 0}} // the number of the call
	for text := range strings.SplitSeq(allowed, ",") {
		n, err := strconv.ParseUint(text, 10, 32)
		if err != nil {
			return err
		}
		filter = append(filter, unix.SockFilter{Code: jumpIfEqual, K: uint32(n), Jf: 1}, unix.SockFilter{Code: ret, K: unix.SECCOMP_RET_ALLOW})
	}
	filter = append(filter, unix.SockFilter{Code: ret, K: unix.SECCOMP_RET_KILL_PROCESS})
	if err := os.Unsetenv(filterVariable); err != nil {
		return err
	}
	runtime.LockOSThread()
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	prog := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	if _, _, errno := unix.RawSyscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, 0, uintptr(unsafe.Pointer(&prog))); errno != 0 {
		return errno
	}
	return syscall.Exec(program[0], program, os.Environ())
}

// filtered gives the command that runs a service under the filter of its unit file.
func filtered(t *testing.T, service, program string) *exec.Cmd {
	t.Helper()
	known, err := systemCalls()
	if err != nil {
		t.Fatalf("learn the system calls of the unit files: %v", err)
	}
	allowed, err := known.allowed(filepath.Join("../../deploy/systemd", "twinreel-"+service+".service"))
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, program)
	cmd.Env = append(os.Environ(), filterVariable+"="+strings.Join(allowed, ","))
	return cmd
}

// calls is what systemd and this machine know of system calls.
type calls struct {
	sets    map[string][]string // members of "@set"
	numbers map[string]string
}

// systemCalls asks systemd for its sets and the C headers for the numbers.
var systemCalls = sync.OnceValues(func() (*calls, error) {
	c := &calls{sets: map[string][]string{}, numbers: map[string]string{}}
	out, err := exec.Command("systemd-analyze", "syscall-filter", "--no-pager").Output()
	if err != nil {
		return nil, fmt.Errorf("run systemd-analyze (apt-get install systemd): %w", err)
	}
	set := ""
	for line := range strings.Lines(string(out)) {
		switch word := strings.TrimSpace(line); {
		case strings.HasPrefix(line, "@"):
			set = word
		case line[0] == ' ' && !strings.HasPrefix(word, "#"):
			c.sets[set] = append(c.sets[set], word)
		}
	}
	headers, err := filepath.Glob("/usr/include/*/asm/unistd_64.h")
	if err != nil || len(headers) == 0 {
		return nil, fmt.Errorf("find asm/unistd_64.h (apt-get install linux-libc-dev): %w", err)
	}
	f, err := os.Open(headers[0])
	if err != nil {
		return nil, err
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		if w := strings.Fields(s.Text()); len(w) == 3 && strings.HasPrefix(w[1], "__NR_") {
			c.numbers[strings.TrimPrefix(w[1], "__NR_")] = w[2]
		}
	}
	return c, nil
})

// implied is what other settings of a unit take away.
var implied = map[string]string{
	"ProtectClock=yes": "@clock", "ProtectKernelModules=yes": "@module", "PrivateDevices=yes": "@raw-io", "ProtectKernelLogs=yes": "syslog",
}

// allowed gives the numbers of the calls that a unit allows.
func (c *calls) allowed(unit string) ([]string, error) {
	b, err := os.ReadFile(unit)
	if err != nil {
		return nil, err
	}
	names := map[string]bool{}
	c.each("@default", func(name string) { names[name] = true })
	for line := range strings.Lines(string(b)) {
		if list, ok := strings.CutPrefix(strings.TrimSpace(line), "SystemCallFilter="); ok {
			list, taken := strings.CutPrefix(list, "~")
			for word := range strings.FieldsSeq(list) {
				c.each(word, func(name string) { names[name] = !taken })
			}
		}
	}
	for setting, word := range implied {
		if strings.Contains(string(b), "\n"+setting+"\n") {
			c.each(word, func(name string) { names[name] = false })
		}
	}
	var out []string
	for name, ok := range names {
		if n := c.numbers[name]; ok && n != "" {
			out = append(out, n)
		}
	}
	slices.Sort(out)
	if len(out) == 0 {
		return nil, fmt.Errorf("%s allows no system call", unit)
	}
	return out, nil
}

func (c *calls) each(word string, f func(name string)) {
	if !strings.HasPrefix(word, "@") {
		f(word)
		return
	}
	for _, m := range c.sets[word] {
		c.each(m, f)
	}
}
