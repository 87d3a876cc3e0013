package e2e

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twinreel/twinreel/deploy/twinreel/witness"
	"github.com/twinreel/twinreel/pkg/archive"
	"github.com/twinreel/twinreel/pkg/auth"
	"github.com/twinreel/twinreel/pkg/grpcx"
	"github.com/twinreel/twinreel/pkg/testkit"
	"github.com/twinreel/twinreel/pkg/timeline"
	"github.com/twinreel/twinreel/pkg/tsplay"
	dvrv1 "github.com/twinreel/twinreel/proto/twinreel/dvr/v1"
	replv1 "github.com/twinreel/twinreel/proto/twinreel/repl/v1"
)

// lossVariable is for how long TestLossApart plays its source.
const lossVariable = "TWINREEL_LOSS_FOR"

// quiet is how long nothing is lost at the beginning, so that each recording begins with a whole segment.
const quiet = 8 * time.Second

// lossy is a stream of both sites.
type lossy struct {
	name string
	rtp  bool
	how  func() loss
}

// TestLossApart: two sites lose datagrams of one source apart from each other, each all the time. Once both have repaired each
// other their archives are alike, and what is still damaged is what the drop lists say: access units of which both lost the same packet.
func TestLossApart(t *testing.T) {
	t.Parallel()
	length := 60 * time.Second
	if v := os.Getenv(lossVariable); v != "" {
		var err error
		if length, err = time.ParseDuration(v); err != nil {
			t.Fatalf("%s: %v", lossVariable, err)
		}
	}
	streams := []lossy{
		{"udp-0_05", false, share(0.0005)},
		{"udp-0_2", false, share(0.002)},
		{"udp-1", false, share(0.01)},
		{"udp-bursts", false, bursts(2, 100)},
		{"udp-long", false, bursts(20, 6000)},
		{"rtp-1", true, share(0.01)},
		{"rtp-bursts", true, bursts(20, 500)},
	}
	file := filepath.Join(t.TempDir(), "clip.ts")
	testkit.RequireFFmpeg(t)
	if err := tsplay.MakeClip(t.Context(), file, tsplay.ClipOptions{VideoKbit: 4000}); err != nil {
		t.Fatal(err)
	}
	p := newLossyPair(t, streams)
	rnd := testkit.Rand(t)
	var on atomic.Bool
	source := newTape()
	opts := tsplay.Options{Loop: true}
	opts.To = append(opts.To, source)
	var relays []*relay
	for i, s := range streams {
		r := newRelay(t, rnd.Uint64(), s.rtp, p.ports[i], s.how, on.Load)
		relays, opts.To = append(relays, r), append(opts.To, r)
	}
	player, err := tsplay.Open(file, opts)
	if err != nil {
		t.Fatal(err)
	}
	p.start(t, streams)
	done := make(chan error, 1)
	began := time.Now()
	go func() { done <- player.Run(context.Background()) }()
	source.wait(t, quiet) // of its media: on a busy machine the source is late
	on.Store(true)
	source.wait(t, length)
	player.Stop()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	t.Logf("played %v: %d datagrams, held up %d times", time.Since(began).Round(time.Second), source.sent, player.Stats().Holdups)
	p.received(t, streams, relays)
	for i, s := range streams {
		a, b, both := relays[i].count()
		t.Logf("%s: datagrams lost: %d on a, %d on b, %d on both", s.name, a, b, both)
	}
	p.ended(t, streams, source)
	p.healed(t, streams, 90*time.Second)
	frames := testkit.Frames(t, file)
	hashes := map[unitKey]witness.Hash{}
	for _, u := range source.Log().Units {
		hashes[unitKey{u.PID, u.DTS}] = u.Hash
	}
	bad := make([]map[unitKey]bool, len(streams))
	for i, s := range streams {
		t.Run(s.name, func(t *testing.T) {
			p.verify(t, s.name)
			j := judge{tape: source, relay: relays[i], rtp: s.rtp, hash: hashes}
			j.mark(t)
			for _, site := range []*site{p.a, p.b} {
				j.site(t, site, s.name)
			}
			t.Logf("%d access units: %d lost packets on a, %d on b, %d on both; left damaged: %d of which both lost the same packet, and %d of %d left out (%s)",
				j.judged/2, j.hit[0]/2, j.hit[1]/2, j.hit[2]/2, j.left/2, j.spared/2, j.unsure/2, rule)
			bad[i] = j.bad
		})
	}
	for i, s := range streams { // at last: it takes the longest
		t.Run(s.name+"/frames", func(t *testing.T) { p.checkFrames(t, s.name, source, frames, bad[i]) })
	}
}

// lossyPair is two sites with the same streams, udp first on both.
type lossyPair struct {
	a, b  *site
	ports [][2]int // by stream
}

func newLossyPair(t *testing.T, streams []lossy) *lossyPair {
	t.Helper()
	m4f := [2]string{fmt.Sprintf("127.0.0.1:%d", testkit.FreePort(t)), fmt.Sprintf("127.0.0.1:%d", testkit.FreePort(t))}
	p := &lossyPair{}
	var conf [2]strings.Builder
	for _, s := range streams {
		ports := [2]int{testkit.FreePort(t), testkit.FreePort(t)}
		p.ports = append(p.ports, ports)
		scheme := "udp"
		if s.rtp {
			scheme = "rtp"
		}
		for i := range conf {
			fmt.Fprintf(&conf[i], "stream %s {\n  input %s://127.0.0.1:%d;\n  input m4f://%s/%[1]s;\n  dvr media 1d replicate;\n}\n",
				s.name, scheme, ports[i], m4f[1-i])
		}
	}
	p.a, p.b = newSite(t, "a", m4f[0], conf[0].String()), newSite(t, "b", m4f[1], conf[1].String())
	return p
}

// start starts both, and waits until they listen for every stream.
func (p *lossyPair) start(t *testing.T, streams []lossy) {
	t.Helper()
	for _, s := range []*site{p.a.start(), p.b.start()} {
		testkit.Eventually(t, 30*time.Second, "all inputs of "+s.node+" are there", func() error {
			m, err := dvrv1.NewIndexServiceClient(s.conn).ListStreams(t.Context(), &dvrv1.ListStreamsRequest{})
			if err != nil {
				return err
			}
			n := 0
			for _, x := range m.GetStreams() {
				n += len(x.GetInputs())
			}
			if n < 2*len(streams) {
				return fmt.Errorf("%d inputs of %d", n, 2*len(streams))
			}
			return nil
		})
	}
}

// received fails the test where a site did not get what the relays let pass: then the drop lists say nothing.
func (p *lossyPair) received(t *testing.T, streams []lossy, relays []*relay) {
	t.Helper()
	for n, s := range []*site{p.a, p.b} {
		for i, x := range streams {
			passed := 0
			for _, lost := range relays[i].lost[n] {
				if !lost {
					passed++
				}
			}
			testkit.Eventually(t, time.Minute, fmt.Sprintf("%s has all of %s that was not lost", s.node, x.name), func() error {
				if got := s.svc["ingestsvc"].metric(t, "twinreel_ingestsvc_datagrams_total", x.name); int(got) != passed {
					return fmt.Errorf("%v datagrams of %d", got, passed)
				}
				return nil
			})
		}
	}
}

// metric adds up a metric of a stream.
func (v *service) metric(t *testing.T, name, stream string) (sum float64) {
	t.Helper()
	resp, err := http.Get("http://" + v.http + "/metrics") //nolint:noctx // of the test's own site
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
		if l := lines.Text(); strings.HasPrefix(l, name+"{") && strings.Contains(l, `stream="`+stream+`"`) {
			n, err := strconv.ParseFloat(l[strings.LastIndex(l, " ")+1:], 64)
			if err != nil {
				t.Fatalf("%s: %v", l, err)
			}
			sum += n
		}
	}
	return sum
}

// replication is the site's replsvc, for what an operator may ask.
func (s *site) replication(t *testing.T) replv1.ReplicationServiceClient {
	t.Helper()
	conn, err := grpcx.Dial(s.svc["replsvc"].grpc, grpcx.DialOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	key, err := auth.ReadKey(s.key)
	if err != nil {
		t.Fatal(err)
	}
	return replv1.NewReplicationServiceClient(auth.Proving(conn, "operator", key))
}

// calm is for how long nothing may differ or be planned where all is called healed: a plan follows what is there by half a
// second.
const calm = 2 * time.Second

// ended waits until both have sealed what was open when the source ended.
func (p *lossyPair) ended(t *testing.T, streams []lossy, source *tape) {
	t.Helper()
	last := int64(0)
	for _, u := range source.units[clipVideo] {
		last = max(last, u.dts)
	}
	for _, s := range streams {
		for _, site := range []*site{p.a, p.b} {
			testkit.Eventually(t, 30*time.Second, site.node+" has the end of "+s.name, func() error {
				end := int64(0)
				for seg, err := range archive.New(site.conn, s.name).Locate(t.Context(), archive.Range{}) {
					if err != nil {
						return err
					}
					end = max(end, int64(seg.Info.End)&(1<<33-1))
				}
				if end < last-int64(timeline.TicksPerSecond) { // what is missing there may have been lost
					return fmt.Errorf("its archive ends at %d, the source at %d", end, last)
				}
				return nil
			})
		}
	}
}

// healed waits until both sites hold the same copies, nothing is to be fetched or joined, and it stays so.
func (p *lossyPair) healed(t *testing.T, streams []lossy, within time.Duration) {
	t.Helper()
	began := time.Now()
	repl := map[string]replv1.ReplicationServiceClient{}
	for _, site := range []*site{p.a, p.b} {
		repl[site.node] = site.replication(t)
	}
	var since time.Time
	testkit.Eventually(t, within, "all is healed", func() error {
		for _, s := range streams {
			for node, repl := range repl {
				if err := unlike(t.Context(), repl, s.name); err != nil {
					since = time.Time{}
					return fmt.Errorf("%s on %s: %w", s.name, node, err)
				}
			}
		}
		if since.IsZero() {
			since = time.Now()
		}
		if time.Since(since) < calm {
			return errors.New("it is alike, but not for long")
		}
		return nil
	})
	t.Logf("healed %v after the end of the source", since.Sub(began).Round(100*time.Millisecond))
}

// unlike tells in what a site differs from its peer, or what it has yet to do.
func unlike(ctx context.Context, repl replv1.ReplicationServiceClient, stream string) error {
	m, err := repl.Compare(ctx, &replv1.CompareRequest{Stream: stream})
	if err != nil {
		return err
	}
	for _, c := range m.GetComparisons() {
		if d := c.GetDifferences(); len(d) > 0 || c.GetSlots() == 0 {
			return fmt.Errorf("%d of %d slots differ, the first: %v", len(d), c.GetSlots(), c)
		}
	}
	plan, err := repl.Plan(ctx, &replv1.PlanRequest{Stream: stream})
	if err != nil {
		return err
	}
	if n := len(plan.GetItems()); n > 0 {
		return fmt.Errorf("%d are planned, the first: %v", n, plan.GetItems()[0])
	}
	return nil
}

// verify has an operator compare the two.
func (p *lossyPair) verify(t *testing.T, stream string) {
	t.Helper()
	at := p.a.svc["dvrsvc"].grpc + "," + p.a.svc["replsvc"].grpc
	peer := "m4f://" + p.b.svc["replsvc"].grpc + "/" + stream
	out, err := exec.CommandContext(t.Context(), binary(t, "twinreel"), "verify", stream, "--grpc", at, "--cluster-key-file", p.a.key, "--peer", peer).CombinedOutput()
	if err != nil {
		t.Errorf("twinreel verify: %v\n%s", err, out)
	}
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	t.Log(strings.Join(lines[max(0, len(lines)-2):], "; "))
}

// checkFrames holds what a site exports against the source: every picture of a group in which nothing is left damaged.
func (p *lossyPair) checkFrames(t *testing.T, stream string, source *tape, frames []string, bad map[unitKey]bool) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "export.mp4")
	out, err := exec.CommandContext(t.Context(), binary(t, "twinreel"), "export", stream, "--grpc", p.b.svc["dvrsvc"].grpc, "-o", file).CombinedOutput()
	if err != nil {
		t.Fatalf("twinreel export: %v\n%s", err, out)
	}
	text, err := exec.CommandContext(t.Context(), "ffmpeg", "-v", "quiet", "-nostdin", "-i", file, "-map", "0:v:0",
		"-fps_mode", "passthrough", "-f", "framemd5", "-").Output()
	if err != nil {
		t.Fatalf("ffmpeg: %v", err)
	}
	const group = 24 // pictures of the clip
	pictures := source.units[clipVideo]
	spoiled := map[int64]bool{}
	for k := range bad {
		if i := slices.IndexFunc(pictures, func(u *unit) bool { return u.dts == k.dts }); k.pid == clipVideo && i >= 0 {
			spoiled[(pictures[i].pts-pictures[0].pts)/3600/group] = true
		}
	}
	got := map[int64]string{}
	first, last := int64(-1), int64(0)
	for line := range strings.Lines(string(text)) {
		f := strings.Split(line, ",")
		if line[0] == '#' || len(f) < 6 {
			continue
		}
		pts, err := strconv.ParseInt(strings.TrimSpace(f[2]), 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		if first < 0 {
			first = pts
		}
		last = pts - first
		got[last] = strings.TrimSpace(f[5])
	}
	same, gone := 0, 0
	for n := range last / group * group {
		if spoiled[n/group] {
			gone++
			continue
		}
		if want := frames[int(n)%len(frames)]; got[n] != want {
			t.Fatalf("picture %d is %q, the source's is %s", n, got[n], want)
		}
		same++
	}
	t.Logf("%d pictures exported as the source has them, %d in groups with a picture that is left damaged", same, gone)
	if same < len(frames) {
		t.Error("too few to say something")
	}
}
