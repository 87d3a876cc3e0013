package transfer

import (
	"slices"
	"testing"

	"github.com/twinreel/twinreel/pkg/segment"
	"github.com/twinreel/twinreel/replsvc/internal/m4fclient"
)

// TestPartialIsBounded: the oldest go first, the newest never.
func TestPartialIsBounded(t *testing.T) {
	const third = maxPartial / 3
	for _, c := range []struct {
		name  string
		bytes []uint64
		want  []byte
	}{
		{"they fit", []uint64{third, third, third}, []byte{0, 1, 2}},
		{"one too many", []uint64{third, third, third, third}, []byte{1, 2, 3}},
		{"a large one", []uint64{third, third, 2 * third}, []byte{1, 2}},
		{"one that is too large alone", []uint64{third, 2 * maxPartial}, []byte{1}},
		{"and another after it", []uint64{2 * maxPartial, third}, []byte{1}},
		{"nothing has come of one", []uint64{third, 0}, []byte{0}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var p partials
			for i, n := range c.bytes {
				d := &m4fclient.Download{Digest: segment.Digest{byte(i)}, Info: segment.Info{Bytes: n}}
				if n > 0 {
					d.Data = []byte{1}
				}
				p.keep(d)
			}
			var got []byte
			for i := range c.bytes {
				if d := p.take("", segment.Digest{byte(i)}); d != nil {
					got = append(got, d.Digest[0])
				}
			}
			if !slices.Equal(got, c.want) || len(p.list) != 0 {
				t.Errorf("kept %v, want %v", got, c.want)
			}
		})
	}
}
