package input

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"time"

	"github.com/twinreel/twinreel/pkg/streamconf"
)

// permitEvery is how often allow_if and deny_if are looked at.
const permitEvery = time.Second

// maxSwitch is how much of such a file is read.
const maxSwitch = 64

// readSwitch reads the front of a regular file.
func readSwitch(path string) ([]byte, error) {
	st, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !st.Mode().IsRegular() {
		return nil, fmt.Errorf("read %s: it is no regular file", path)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxSwitch))
}

// permit says whether the files let the input be used, and if not, which does not. A file that cannot be read says what it
// said before: known.
func permit(q streamconf.Quality, read func(string) ([]byte, error), denied string) (by string, err error) {
	ask := func(path string, missing, zero bool) (allowed bool) {
		b, e := read(path)
		switch {
		case errors.Is(e, fs.ErrNotExist):
			return missing
		case e != nil:
			err = errors.Join(err, e)
			return denied != path
		}
		return (strings.TrimSpace(string(b)) == "0") == zero
	}
	if q.AllowIf != "" && !ask(q.AllowIf, true, false) {
		return q.AllowIf, err
	}
	if q.DenyIf != "" && !ask(q.DenyIf, true, true) {
		return q.DenyIf, err
	}
	return "", err
}

// watchPermit looks at the files until ctx is done.
func (in *Input) watchPermit(ctx context.Context) {
	t := in.deps.Clock.NewTicker(permitEvery)
	defer t.Stop()
	for {
		in.lookAtPermit()
		select {
		case <-ctx.Done():
			return
		case <-t.C():
		}
	}
}

func (in *Input) lookAtPermit() {
	in.mu.Lock()
	q, before, problem := in.options.Quality, in.denied, in.permitProblem
	in.mu.Unlock()
	by, err := permit(q, in.deps.ReadSwitch, before)
	text := ""
	if err != nil {
		text = err.Error()
	}
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
