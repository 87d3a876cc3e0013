package input

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/twinreel/twinreel/pkg/streamconf"
)

// permitEvery is how often allow_if and deny_if are looked at.
const permitEvery = time.Second

// permitWait is how long an input waits for the first look. A file system that hangs never answers.
const permitWait = 3 * time.Second

// maxSwitch is how much of such a file is read.
const maxSwitch = 64

// readSwitch reads the front of a regular file.
func readSwitch(path string) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0) // a pipe would be waited for
	if err != nil {
		return nil, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !st.Mode().IsRegular() {
		return nil, fmt.Errorf("read %s: it is no regular file", path)
	}
	return io.ReadAll(io.LimitReader(f, maxSwitch))
}

// permit says whether the files let the input be used, and if not, which does not. A file that cannot be read says what it
// said before: known. unsure says that a file is empty, as one that is just being written is.
func permit(q streamconf.Quality, read func(string) ([]byte, error), denied string) (by string, unsure bool, err error) {
	ask := func(path string, missing, zero bool) (allowed bool) {
		b, e := read(path)
		switch {
		case errors.Is(e, fs.ErrNotExist):
			return missing
		case e != nil:
			err = errors.Join(err, e)
			return denied != path
		}
		unsure = unsure || len(b) == 0
		return (strings.TrimSpace(string(b)) == "0") == zero
	}
	if q.AllowIf != "" && !ask(q.AllowIf, true, false) {
		return q.AllowIf, unsure, err
	}
	if q.DenyIf != "" && !ask(q.DenyIf, true, true) {
		return q.DenyIf, unsure, err
	}
	return "", unsure, err
}

// awaitPermit waits until the files were looked at once.
func (in *Input) awaitPermit(ctx context.Context, looked <-chan struct{}) {
	t := in.deps.Clock.NewTimer(permitWait)
	defer t.Stop()
	select {
	case <-looked:
	case <-ctx.Done():
	case <-t.C():
		in.log.Warn("switch of the input cannot be read in time, it is allowed until then")
	}
}

// ruling is what files said.
type ruling struct {
	by     string
	unsure bool
	err    error
}

// watchPermit looks at the files until ctx is done. Nobody waits for a file that hangs: where the config has come to name
// others, or none, these are looked at instead.
func (in *Input) watchPermit(ctx context.Context, looked chan<- struct{}) {
	t := in.deps.Clock.NewTicker(permitEvery)
	defer t.Stop()
	q, said := in.ask()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C():
			in.mu.Lock()
			now := in.options.Quality
			in.mu.Unlock()
			if said == nil || now.AllowIf != q.AllowIf || now.DenyIf != q.DenyIf {
				q, said = in.ask()
			}
		case r := <-said:
			said = nil
			in.rule(r)
			if looked != nil {
				close(looked)
				looked = nil
			}
		}
	}
}

// ask begins to look at the files that the options name.
func (in *Input) ask() (q streamconf.Quality, said <-chan ruling) {
	in.mu.Lock()
	q, before := in.options.Quality, in.denied
	in.mu.Unlock()
	c := make(chan ruling, 1)
	if q.AllowIf == "" && q.DenyIf == "" {
		c <- ruling{}
		return q, c
	}
	go func() {
		by, unsure, err := permit(q, in.deps.ReadSwitch, before)
		c <- ruling{by, unsure, err}
	}()
	return q, c
}

// rule lets the input be used, or not.
func (in *Input) rule(r ruling) {
	in.mu.Lock()
	before, problem := in.denied, in.permitProblem
	in.mu.Unlock()
	by, unsure, err := r.by, r.unsure, r.err
	text := ""
	if err != nil {
		text = err.Error()
	}
	first := !in.looked
	in.looked = true
	if by != before && unsure && !first && !in.unsure {
		in.unsure = true // an empty file is believed at the second look
		return
	}
	in.unsure = false
	if by == before && text == problem {
		return
	}
	in.mu.Lock()
	in.denied, in.permitProblem = by, text
	in.mu.Unlock()
	switch by {
	case before:
	case "":
		in.log.Info("input allowed again", "file", before)
	default:
		in.log.Warn("input denied", "file", by)
	}
	if text != "" && text != problem {
		in.log.Warn("switch of the input cannot be read", "error", err)
	}
	in.poke()
}
