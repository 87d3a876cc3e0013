package rpcerr

import (
	"context"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/twinreel/twinreel/pkg/errs"
)

// overWire is what the other side gets: a status rebuilt from its message.
func overWire(err error) error { return status.ErrorProto(status.Convert(err).Proto()) }

// I1, I2 for every row, bare and wrapped; and no row answers for another.
func TestTable(t *testing.T) {
	seen := map[string]bool{}
	for _, r := range table() {
		if seen[r.reason] || r.reason == "" || Sentinel(r.reason) != r.err || Reason(r.err) != r.reason {
			t.Errorf("reason %q is not unique", r.reason)
		}
		seen[r.reason] = true
		for _, err := range []error{r.err, fmt.Errorf("read segment 12: %w", fmt.Errorf("open: %w", r.err))} {
			sent := ToStatus(err)
			got := FromStatus(overWire(sent))
			if st := status.Convert(got); st.Code() != r.code || st.Message() != err.Error() {
				t.Errorf("%s: %v %q arrived as %v %q", r.reason, r.code, err, st.Code(), st.Message())
			}
			if got.Error() != err.Error() {
				t.Errorf("%s: message %q became %q", r.reason, err, got)
			}
			for _, other := range table() {
				if errors.Is(got, other.err) != (other.err == r.err) {
					t.Errorf("%s: errors.Is(%s) is wrong", r.reason, other.reason)
				}
			}
			// A second hop: what came from a peer is passed on to a caller of ours.
			if again := FromStatus(overWire(ToStatus(fmt.Errorf("ask peer: %w", got)))); !errors.Is(again, r.err) {
				t.Errorf("%s is lost at the second hop", r.reason)
			}
		}
	}
}

// Every sentinel of package errs is in the table.
func TestTableIsComplete(t *testing.T) {
	f, err := parser.ParseFile(token.NewFileSet(), "../errs/errs.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var n int
	ast.Inspect(f, func(x ast.Node) bool {
		if v, ok := x.(*ast.ValueSpec); ok && strings.HasPrefix(v.Names[0].Name, "Err") {
			n++
		}
		return true
	})
	if n != len(table()) {
		t.Errorf("errs has %d sentinels, the table %d", n, len(table()))
	}
}

// I2: what took the place of a copy is told over any number of hops.
func TestSuperseded(t *testing.T) {
	var err error = &errs.SupersededError{By: "ab12"}
	for range 2 {
		err = FromStatus(overWire(ToStatus(fmt.Errorf("read segment: %w", err))))
		var got *errs.SupersededError
		if !errors.As(err, &got) || got.By != "ab12" {
			t.Fatalf("got %v", err)
		}
	}
}

func TestOthers(t *testing.T) {
	if ToStatus(nil) != nil || FromStatus(nil) != nil {
		t.Error("nil became an error")
	}
	for _, c := range []struct {
		err  error
		code codes.Code
	}{
		{io.ErrUnexpectedEOF, codes.Internal},
		{fmt.Errorf("wait: %w", context.Canceled), codes.Canceled},
		{fmt.Errorf("wait: %w", context.DeadlineExceeded), codes.DeadlineExceeded},
		{status.Error(codes.Unimplemented, "x"), codes.Unimplemented},
	} {
		if got := status.Code(ToStatus(c.err)); got != c.code {
			t.Errorf("%v: got %v, want %v", c.err, got, c.code)
		}
	}
	if err := FromStatus(io.EOF); err != io.EOF {
		t.Errorf("the end of a stream became %v", err)
	}
}
