package streamconf

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Position is a place in a source. Both count from 1; Column counts characters, a tab as one.
type Position struct{ Line, Column int }

// Problem is one thing that is wrong with a source.
type Problem struct {
	File string
	Pos  Position
	What string // what is wrong
	Do   string // what to do about it
}

// String is the problem as an operator reads it: FILE:LINE:COL: what is wrong; what to do.
func (p Problem) String() string {
	return fmt.Sprintf("%s:%d:%d: %s; %s", p.File, p.Pos.Line, p.Pos.Column, p.What, p.Do)
}

// Problems is everything wrong with a source, by place. It is the error that Parse returns.
type Problems []Problem

// Error has one line for each problem.
func (p Problems) Error() string {
	lines := make([]string, len(p))
	for i, x := range p {
		lines[i] = x.String()
	}
	return strings.Join(lines, "\n")
}

// reporter gathers problems while the rest of the source is still read.
type reporter struct {
	file  string
	found Problems
}

func (r *reporter) add(at Position, what, do string) {
	r.found = append(r.found, Problem{File: r.file, Pos: at, What: what, Do: do})
}

func (r *reporter) err() error {
	if len(r.found) == 0 {
		return nil
	}
	slices.SortStableFunc(r.found, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.Pos.Line, b.Pos.Line), cmp.Compare(a.Pos.Column, b.Pos.Column))
	})
	return r.found
}
