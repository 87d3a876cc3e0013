package modes

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twinreel/twinreel/pkg/archive"
	"github.com/twinreel/twinreel/pkg/errs"
	"github.com/twinreel/twinreel/pkg/segment"
	"github.com/twinreel/twinreel/pkg/testkit"
	"github.com/twinreel/twinreel/pkg/tsplay"
	dvrv1 "github.com/twinreel/twinreel/proto/twinreel/dvr/v1"
	replv1 "github.com/twinreel/twinreel/proto/twinreel/repl/v1"
)

// A byte rots on the disk of one site. Scrub finds it: the copy is counted, shown, neither served nor offered to the other
// site, and comes back from there. So does what a reader finds, and what rots a second time.
func TestRotComesBackFromThePeer(t *testing.T) {
	t.Parallel()
	path := testkit.Clip{
		Name: "clip", Seconds: 26, Rate: "25", Size: "160x90", X264: "open-gop=0:keyint=25:min-keyint=25:scenecut=0",
		Audio: []string{"-c:a:0 aac -ar:a:0 48000 -b:a:0 64k"},
	}.Make(t)
	a, b := newSite(t, "a"), newSite(t, "b")
	for _, s := range []*site{a, b} {
		other := a
		if s == a {
			other = b
		}
		s.configure(s.udpURL(), other.m4fURL())
		s.start()
		waitForInput(t, s)
	}
	testkit.Play(t, path, tsplay.Options{}, a.source, b.source)
	testkit.Eventually(t, 60*time.Second, "both have recorded all", func() error {
		if n := len(a.archive().MustSegments(t)); n < 4 {
			return fmt.Errorf("%d segments", n)
		}
		return agree(t, a, b)
	})
	time.Sleep(4 * time.Second) // until the inputs are silent, and what was open is sealed
	testkit.Eventually(t, 30*time.Second, "archives are the same", func() error { return agree(t, a, b) })

	victim := b.archive().MustSegments(t)[1]
	data := b.bytes(victim.GetDigest())
	b.stop()
	b.rot(data)
	if err := os.Remove(filepath.Join(b.Dir, "storage", ".twinreel", "scrub")); err != nil { // or it would wait for a day
		t.Fatal(err)
	}
	b.configure(b.udpURL())
	b.start()
	testkit.Eventually(t, 30*time.Second, "scrub has found it", func() error { return b.shutAway(1) })
	if got := b.metric("twinreel_dvrsvc_quarantined_copies_total"); got != "1" {
		t.Errorf("quarantined_copies_total is %s", got)
	}
	b.serves(victim, false)
	testkit.Eventually(t, 30*time.Second, "it is not offered", func() error {
		m, err := replv1.NewReplicationServiceClient(a.conn).Compare(t.Context(), &replv1.CompareRequest{Stream: stream, Url: b.m4fURL()})
		if err != nil {
			return err
		}
		d := m.GetComparisons()[0].GetDifferences()
		if len(d) != 1 || !slices.Equal(d[0].GetHere(), []string{victim.GetDigest()}) || len(d[0].GetThere()) != 0 {
			return fmt.Errorf("the other site sees %v", d)
		}
		return nil
	})
	b.configure(b.udpURL(), a.m4fURL())
	whole := func() error { return errors.Join(b.shutAway(0), agree(t, a, b)) }
	testkit.Eventually(t, 40*time.Second, "it is back", whole)
	b.serves(victim, true)

	for i, s := range []*dvrv1.Segment{b.archive().MustSegments(t)[2], victim} { // recorded here; brought by the peer a moment ago
		b.rot(b.bytes(s.GetDigest()))
		b.serves(s, false)
		testkit.Eventually(t, 20*time.Second, fmt.Sprintf("what a reader finds is back, %d", i), whole)
		b.serves(s, true)
	}
	rpc, err := dvrv1.NewMaintenanceServiceClient(b.conn).Verify(t.Context(), &dvrv1.VerifyRequest{Stream: stream})
	if err != nil {
		t.Fatal(err)
	}
	if m, err := rpc.Recv(); err != nil || m.GetBad() != 0 || m.GetDigest() != "" {
		t.Errorf("verify: %v, %v", m, err)
	}
}

// agree reports whether the indexes of two sites agree by the digests of their blocks.
func agree(t *testing.T, a, b *site) error {
	var all [2][]string
	for i, s := range []*site{a, b} {
		index := dvrv1.NewIndexServiceClient(s.conn)
		rows, err := index.ListTimelines(t.Context(), &dvrv1.ListTimelinesRequest{Stream: stream})
		if err != nil {
			return err
		}
		for _, row := range rows.GetTimelines() {
			m, err := index.GetDigests(t.Context(), &dvrv1.GetDigestsRequest{Stream: stream, Timeline: row.GetId()})
			if err != nil {
				return err
			}
			for _, x := range m.GetBlocks() {
				all[i] = append(all[i], fmt.Sprint(x.GetDigest(), x.GetSlots()))
			}
		}
		slices.Sort(all[i])
	}
	if len(all[0]) == 0 || !slices.Equal(all[0], all[1]) {
		return fmt.Errorf("blocks %v and %v", all[0], all[1])
	}
	return nil
}

// stop ends the site in order.
func (s *site) stop() {
	s.t.Helper()
	s.stdin.Close()
	if err := s.cmd.Wait(); err != nil {
		s.t.Fatal(err)
	}
	s.cmd = nil
}

// bytes gives a segment as it is stored.
func (s *site) bytes(digest string) []byte {
	s.t.Helper()
	_, b, err := s.read(digest)
	if err != nil {
		s.t.Fatal(err)
	}
	return b
}

func (s *site) read(digest string) (archive.Segment, []byte, error) {
	d, err := segment.ParseDigest(digest)
	if err != nil {
		s.t.Fatal(err)
	}
	return archive.New(s.conn, stream).ReadDigest(s.t.Context(), d)
}

// rot flips a byte of a segment on disk, wherever it lies there: dead, too, in a file that scrub wrote anew.
func (s *site) rot(data []byte) {
	s.t.Helper()
	mark := data[len(data)-64:]
	files, err := filepath.Glob(filepath.Join(s.Dir, "storage", stream, "*.mp4"))
	if err != nil {
		s.t.Fatal(err)
	}
	found := 0
	for _, name := range files {
		b, err := os.ReadFile(name)
		if err != nil {
			s.t.Fatal(err)
		}
		i := bytes.Index(b, mark)
		if i < 0 {
			continue
		}
		found++
		f, err := os.OpenFile(name, os.O_WRONLY, 0)
		if err == nil {
			_, err = f.WriteAt([]byte{b[i+32] ^ 0x20}, int64(i+32))
		}
		if err = errors.Join(err, f.Close()); err != nil {
			s.t.Fatal(err)
		}
	}
	if found == 0 {
		s.t.Fatalf("the segment lies in none of %d files", len(files))
	}
}

// shutAway reports whether so many copies are, as an operator sees it.
func (s *site) shutAway(want uint64) error {
	m, err := dvrv1.NewIndexServiceClient(s.conn).ListStreams(s.t.Context(), &dvrv1.ListStreamsRequest{})
	if err != nil {
		return err
	}
	for _, x := range m.GetStreams() {
		if x.GetStream() == stream && x.GetQuarantined() != want {
			return fmt.Errorf("%d copies are shut away", x.GetQuarantined())
		}
	}
	rpc, err := dvrv1.NewIndexServiceClient(s.conn).ListSegments(s.t.Context(), &dvrv1.ListSegmentsRequest{Stream: stream, IncludeUnpresented: true})
	var listed uint64
	for err == nil {
		var m *dvrv1.ListSegmentsResponse
		if m, err = rpc.Recv(); err == nil && m.GetSegment().GetQuarantined() {
			listed++
		}
	}
	if !errors.Is(err, io.EOF) {
		return err
	}
	if shown := s.metric("twinreel_dvrsvc_quarantined_copies"); listed != want || shown != fmt.Sprint(want) {
		return fmt.Errorf("%d of the segments are listed as shut away, the metric says %s", listed, shown)
	}
	return nil
}

// metric gives the value of the first line of a metric.
func (s *site) metric(name string) string {
	resp, err := http.Get(s.httpURL("metrics"))
	if err != nil {
		return err.Error()
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return err.Error()
	}
	for line := range strings.SplitSeq(string(b), "\n") {
		if strings.HasPrefix(line, name+"{") {
			return line[strings.LastIndex(line, " ")+1:]
		}
	}
	return "not there"
}

// serves checks whether a segment can be had, and is listed as what is played.
func (s *site) serves(x *dvrv1.Segment, want bool) {
	s.t.Helper()
	_, b, err := s.read(x.GetDigest())
	if want != (err == nil) || !want && !errors.Is(err, errs.ErrCorrupt) && !errors.Is(err, errs.ErrQuarantined) {
		s.t.Errorf("read it: %d bytes, %v; want it served: %t", len(b), err, want)
	}
	listed := slices.ContainsFunc(s.archive().MustSegments(s.t), func(y *dvrv1.Segment) bool { return y.GetDigest() == x.GetDigest() })
	if listed != want {
		s.t.Errorf("it is listed: %t, want %t", listed, want)
	}
}
