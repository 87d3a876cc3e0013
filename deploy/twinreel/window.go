package main

import (
	"fmt"

	"github.com/twinreel/twinreel/pkg/archive"
)

// window is a half-open range on the command line.
type window struct {
	From string `placeholder:"TIME" help:"Unix seconds or RFC 3339; absent: from the beginning."`
	To   string `placeholder:"TIME" help:"Unix seconds or RFC 3339, not included; absent: to the end."`
}

func (w window) parse() (archive.Range, error) {
	var r archive.Range
	var err error
	if w.From != "" {
		if r.From, err = archive.ParseTime(w.From); err != nil {
			return r, fmt.Errorf("--from: %w", err)
		}
	}
	if w.To != "" {
		if r.To, err = archive.ParseTime(w.To); err != nil {
			return r, fmt.Errorf("--to: %w", err)
		}
	}
	if !r.To.IsZero() && !r.From.Before(r.To) {
		return r, fmt.Errorf("--from %s is not before --to %s", w.From, w.To)
	}
	return r, nil
}
