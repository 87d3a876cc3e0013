package app_test

import (
	"fmt"
	"testing"

	"github.com/twinreel/twinreel/pkg/segment"
	dvrv1 "github.com/twinreel/twinreel/proto/twinreel/dvr/v1"
)

// TestOfferedWithPackets: what is fetched since dvrsvc wants it brings the packets that are kept of it, as what is fetched to be joined does:
// when both sites have joined by access unit alone, their archives are alike and nobody asks for packets any more.
func TestOfferedWithPackets(t *testing.T) {
	t.Parallel()
	n := newNetwork()
	b := newSite(t, n, "b", config())
	a := newSite(t, n, "a", config("b"))
	url := "m4f://b:7000/tv"
	eventually(t, soon, "the relay stands by", func() error { return live(a, "offers") })
	c := pictures(105, "b", map[int]string{3: "x"}, true)
	c.Info.Runs = []segment.Run{{PID: 256, DTS: c.Info.Start, Packets: []segment.Packet{{At: 1, Counter: 1, Data: []byte("x")}}}}
	b.dvr.Play(c)
	eventually(t, soon, "it is offered", func() error {
		if got := len(a.dvr.Input(url, dvrv1.Kind_KIND_LIVE).Offers); got != 1 {
			return fmt.Errorf("%d offers", got)
		}
		return nil
	})
	a.dvr.Want(url)
	eventually(t, soon, "it comes with its packets", func() error {
		if err := has(a.dvr, c); err != nil {
			return err
		}
		if d := a.dvr.Runs(105); len(d) != 1 || len(d[0].Packets) != 1 {
			return fmt.Errorf("it has %v", d)
		}
		return nil
	})
}
