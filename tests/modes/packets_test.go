package modes

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twinreel/twinreel/pkg/testkit"
	"github.com/twinreel/twinreel/pkg/tsplay"
	dvrv1 "github.com/twinreel/twinreel/proto/twinreel/dvr/v1"
)

// pictures tells of each datagram how many came before it since one in which a picture begins, and which picture that is.
type pictures struct {
	seen, at int
}

const packetSize = 188

// next takes a datagram. lone: it has packets of the picture, and none begins in it.
func (p *pictures) next(datagram []byte) (picture, at int, lone bool) {
	const videoPID = 256 // of ffmpeg's muxer
	for d := datagram; len(d) >= packetSize; d = d[packetSize:] {
		switch {
		case uint16(d[1]&0x1F)<<8|uint16(d[2]) != videoPID:
		case d[1]&0x40 != 0:
			p.seen, p.at = p.seen+1, 0
			return p.seen, 0, false
		default:
			lone = true
		}
	}
	if lone {
		p.at++
	}
	return p.seen, p.at, lone
}

// partOf is a Keep that loses datagrams of a picture in each group, from one on. Of RTP it gives what it keeps numbers.
func partOf(o *testkit.Output, from, n int, rtp bool, lost *atomic.Int64) func([]byte) bool {
	var p pictures
	var header [12]byte
	seq := uint16(65000) // it wraps
	return func(datagram []byte) bool {
		picture, at, lone := p.next(datagram)
		seq++
		if lone && picture > 200 && picture%50 == 20 && at >= from && at < from+n {
			lost.Add(1)
			return false
		}
		if !rtp {
			return true
		}
		header = [12]byte{0: 2 << 6, 1: 33}
		binary.BigEndian.PutUint16(header[2:], seq)
		binary.BigEndian.PutUint32(header[8:], 77)
		o.Send(append(header[:], datagram...))
		return false
	}
}

// Two sites lose different packets of the same pictures, so that neither has one of them. What they have of it together is the
// picture: both archives come to be what a site has that lost nothing, to the byte. In RTP also where each lost more in a row than
// a continuity counter counts.
func TestSitesThatLosePartsOfOnePicture(t *testing.T) {
	t.Parallel()
	for _, rtp := range []bool{false, true} {
		t.Run(fmt.Sprintf("rtp %t", rtp), func(t *testing.T) {
			t.Parallel()
			path := testkit.Clip{
				Name: "clip", Seconds: 40, Rate: "25", Size: "640x360",
				X264:  "open-gop=0:keyint=50:min-keyint=50:scenecut=0:bitrate=6000:qpmax=10",
				Audio: []string{"-c:a:0 aac -ar:a:0 48000 -b:a:0 64k"},
			}.Make(t)
			a, b, clean := newSite(t, "a"), newSite(t, "b"), newSite(t, "c")
			sites := []*site{a, b, clean}
			for _, s := range sites {
				s.configure(s.udpURL())
				s.start()
				waitForInput(t, s)
			}
			n := 1
			if rtp {
				n = 4
			}
			var lost [3]atomic.Int64
			a.source.Keep(partOf(a.source, 1, n, rtp, &lost[0]))
			b.source.Keep(partOf(b.source, n+1, n, rtp, &lost[1]))
			clean.source.Keep(partOf(clean.source, 0, 0, rtp, &lost[2]))
			testkit.Play(t, path, tsplay.Options{}, a.source, b.source, clean.source).Wait(t)
			want := waitForEnd(t, clean)
			damaged := [2]uint32{}
			for i, s := range sites[:2] {
				for _, x := range waitForEnd(t, s) {
					damaged[i] += x.GetDamagedSamples()
				}
			}
			if damaged[0] < 10 || damaged[1] < 10 || lost[0].Load() != lost[1].Load() || !someWhole(want) {
				t.Fatalf("it tests nothing: %v samples are damaged, %d and %d datagrams are lost", damaged, lost[0].Load(), lost[1].Load())
			}
			a.configure(a.udpURL(), b.m4fURL())
			b.configure(b.udpURL(), a.m4fURL())
			testkit.Eventually(t, 60*time.Second, "both archives are what a clean site has", func() error {
				return errors.Join(asClean(t, a, want), asClean(t, b, want))
			})
			mended := 0
			for _, s := range sites[:2] {
				n, err := strconv.Atoi(s.metric("twinreel_replsvc_mended_units_total"))
				if err != nil {
					t.Error(err)
				}
				mended += n
				if got := s.metric("twinreel_replsvc_unlike_packets_total"); got != "0" {
					t.Errorf("%s: %s places with unlike packets", s.Node, got)
				}
			}
			if mended < 10 {
				t.Errorf("%d access units were mended", mended)
			}
			t.Logf("%v samples were damaged, %d access units mended", damaged, mended)
		})
	}
}

// someWhole reports whether a site that lost nothing has whole segments to compare with.
func someWhole(segs []*dvrv1.Segment) bool {
	n := 0
	for _, s := range segs {
		if s.GetWhole() {
			n++
		}
	}
	return n > 3
}
