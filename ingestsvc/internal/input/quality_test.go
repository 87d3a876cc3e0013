package input

import (
	"encoding/binary"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/twinreel/twinreel/ingestsvc/internal/udp"
	"github.com/twinreel/twinreel/pkg/mpegts"
	"github.com/twinreel/twinreel/pkg/streamconf"
	"github.com/twinreel/twinreel/pkg/tsplay"
)

// However many PIDs come, and whatever the map says, 64 are shown one by one, and the others together.
func TestPIDsAreBounded(t *testing.T) {
	prog := mpegts.Program{Number: 1, PMTPID: 0x1000, PCRPID: 256}
	for pid := uint16(256); pid < 456; pid++ {
		prog.Streams = append(prog.Streams, mpegts.Stream{PID: pid, Name: "private PES"})
	}
	s := &mpegts.Stats{UntrackedPackets: 7}
	for pid := range uint16(512) {
		s.PIDs = append(s.PIDs, mpegts.PIDStats{PID: pid, Packets: 10, ContinuityErrors: 1})
	}
	var p pids
	for sec := range 10 {
		for i := range s.PIDs {
			s.PIDs[i].Packets += 100
		}
		p.take(time.Duration(sec)*time.Second, s, &prog, nil)
	}
	if len(p.shown) != maxPIDs || len(p.rates) > maxPIDs+1 {
		t.Fatalf("%d PIDs are shown, %d followed", len(p.shown), len(p.rates))
	}
	if q := p.shown[0]; q.PID != 0 || q.Name != "PAT" || q.BitsPerSecond != 100*188*8 || q.Packets != 1010 {
		t.Errorf("the first is %+v", q)
	}
	if q := p.others; q.Packets != (512-maxPIDs)*1010+7 || q.ContinuityErrors != 512-maxPIDs || q.BitsPerSecond != (512-maxPIDs)*100*188*8 {
		t.Errorf("the others are %+v", q)
	}
	p.take(11*time.Second, &mpegts.Stats{}, &mpegts.Program{}, nil)
	if len(p.shown) != 0 || len(p.rates) > 1 {
		t.Errorf("%d PIDs are followed that are gone", len(p.rates))
	}
}

// A hostile map can make only so many PIDs be counted.
func TestUnitsAreBounded(t *testing.T) {
	units := make(unitsByPID)
	for pid := range 8000 {
		units.unit(&mpegts.AccessUnit{PID: uint16(pid), Lost: true, Damage: mpegts.DamageContinuity})
	}
	units.unit(&mpegts.AccessUnit{PID: 5})
	if len(units) != maxPIDs || *units[5] != (UnitCounts{2, 1, 1}) {
		t.Errorf("%d PIDs, of one %+v", len(units), units[5])
	}
}

// withinAPicture finds a datagram behind the first n that has nothing but a part of one picture.
func withinAPicture(t *testing.T, datagrams [][]byte, n int) int {
	t.Helper()
	for i, d := range datagrams[n:] {
		within := true
		for packet := range slices.Chunk(d, 188) {
			within = within && binary.BigEndian.Uint16(packet[1:])&0x5FFF == 256 // its PID, with payload_unit_start_indicator
		}
		if within {
			return n + i
		}
	}
	t.Fatal("no datagram of the clip lies within a picture")
	return 0
}

// What an input found is in the list and in the metrics, from media to label.
func TestQualityIsShown(t *testing.T) {
	datagrams := clip(t)
	inBubble(t, func(n *node) {
		n.apply(urlA)
		n.role(urlA, true)
		lost := withinAPicture(t, datagrams, 200)
		n.play(datagrams[:lost])
		n.play(datagrams[lost+1:])
		for _, p := range n.List()[0].PIDs {
			if p.PID == 256 && p.BitsPerSecond == 0 {
				t.Error("no rate of the video")
			}
		}
		time.Sleep(5*time.Second + time.Second/2)
		s := n.List()[0]
		q := s.Quality
		if q.TR101290.ContinuityCountError == 0 || q.LostPackets == 0 || q.LostPackets > 7 || q.Units == 0 || s.ErrorsLastMinute == 0 {
			t.Errorf("quality %+v, %d errors in a minute", q, s.ErrorsLastMinute)
		}
		if s.SilentSeconds != 5 || s.MediaAge < 5*time.Second || s.Activations != 1 || s.ActiveFor < 15*time.Second || s.Reopenings != 0 {
			t.Errorf("silent for %d s, media of %v, active %d times for %v", s.SilentSeconds, s.MediaAge, s.Activations, s.ActiveFor)
		}
		units, damaged := uint64(0), uint64(0)
		for _, p := range s.PIDs {
			units += p.Units.Found
			damaged += p.Units.Damaged
		}
		if units != q.Units || damaged != s.FaultyUnits || damaged == 0 || q.Packets < 7*290 {
			t.Errorf("PIDs have %d access units, %d damaged, all %d and %d; %d packets", units, damaged, q.Units, s.FaultyUnits, q.Packets)
		}
		var names []string
		sum := uint64(0)
		for _, p := range s.PIDs {
			names = append(names, p.Name)
			sum += p.ContinuityErrors
		}
		time.Sleep(2 * time.Second)
		for _, p := range append(n.List()[0].PIDs, n.List()[0].OtherPIDs) {
			if p.BitsPerSecond != 0 {
				t.Errorf("silent for 7 s: PID %d has %d bit/s", p.PID, p.BitsPerSecond)
			}
		}
		if got, want := strings.Join(names, ","), "PAT,SDT,H.264,AAC (ADTS),MPEG-1 audio,PMT"; got != want {
			t.Errorf("PIDs %s, want %s", got, want)
		}
		if sum+s.OtherPIDs.ContinuityErrors != s.ContinuityErrors {
			t.Errorf("PIDs have %d continuity errors, others %d, all %d", sum, s.OtherPIDs.ContinuityErrors, s.ContinuityErrors)
		}
		reg := prometheus.NewPedanticRegistry()
		if err := reg.Register(NewCollector(n.Manager)); err != nil {
			t.Fatal(err)
		}
		families, err := reg.Gather()
		if err != nil {
			t.Fatal(err)
		}
		series := map[string]int{}
		for _, f := range families {
			series[f.GetName()] = len(f.GetMetric())
			for _, m := range f.GetMetric() {
				for _, l := range m.GetLabel() {
					if l.GetValue() == "Continuity_count_error" && m.GetCounter().GetValue() != float64(q.TR101290.ContinuityCountError) {
						t.Errorf("the metric is %v", m)
					}
				}
			}
		}
		if series["twinreel_ingestsvc_tr101290_errors_total"] != 13 || series["twinreel_ingestsvc_pid_packets_total"] != len(s.PIDs)+1 ||
			series["twinreel_ingestsvc_hidden_losses_total"] != 1 {
			t.Errorf("series %v", series)
		}
	})
}

// A socket that is silent is judged all the same: each period counts in which a table or a PID stays away, and what waits
// for the next PCR is not kept.
func TestSilenceIsJudged(t *testing.T) {
	in := New("s", streamconf.Input{Kind: streamconf.KindUDP}, 1, quietDeps(t))
	p := newPipeline(in)
	now := time.Hour
	for _, d := range clip(t)[:700] {
		p.take(now, [][]byte{d}, 0)
		now += 16 * tsplay.ClipGrain / 780
	}
	p.take(now+statsEvery, nil, 0) // what waited is used
	before := p.counted.quality
	for range 10 * time.Second / udp.DrainInterval {
		now += udp.DrainInterval
		p.take(now, nil, 0)
	}
	q := p.counted.quality
	if pat, pids := q.TR101290.PATError2-before.TR101290.PATError2, q.TR101290.PIDError-before.TR101290.PIDError; pat < 15 || pat > 20 || pids < 3 || pids > 6 {
		t.Errorf("silent for 10 s: %d PAT errors and %d PID errors, want some 18 and one or two for each of 3 PIDs", pat, pids)
	}
}

// What a source brings that tells no time (a server, SRT, a file) has no rate when it has stalled.
func TestRatesOfAStall(t *testing.T) {
	deps, datagrams := quietDeps(t), clip(t)[:400]
	synctest.Test(t, func(t *testing.T) {
		in := New("s", streamconf.Input{Kind: streamconf.KindHTTP}, 1, deps)
		p := newPipeline(in)
		in.pipe = p
		for _, d := range datagrams {
			p.write(deps.Clock.Mono(), d)
			time.Sleep(16 * tsplay.ClipGrain / 780)
		}
		rates := func() (n int) {
			s := in.Status()
			for _, q := range append(s.PIDs, s.OtherPIDs) {
				if q.BitsPerSecond > 0 {
					n++
				}
			}
			return n
		}
		if rates() < 3 {
			t.Errorf("%d PIDs have a rate", rates())
		}
		time.Sleep(7 * time.Second)
		if rates() != 0 || in.Status().BitsPerSecond != 0 {
			t.Errorf("silent for 7 s: %d PIDs have a rate", rates())
		}
	})
}

// TestWhatIsMissing: of a source that brings no media it is told what it lacks.
func TestWhatIsMissing(t *testing.T) {
	for _, c := range []struct {
		t     *tables
		asked uint16
		want  string
	}{
		{nil, 0, "no media has come yet"},
		{&tables{}, 0, "no media has come yet"},
		{&tables{packets: 9}, 0, "no program association table"},
		{&tables{packets: 9, pat: true}, 0, "has no program"},
		{&tables{packets: 9, pat: true}, 3, "there is no program 3"},
		{&tables{packets: 9, pat: true, program: 3, mapPID: 48}, 3, "the map of program 3 does not come: it should, on PID 48"},
		{&tables{packets: 9, pat: true, program: 3, mapPID: 48}, 0, "program 3, the lowest in the table, does not come (on PID 48): program= takes another"},
	} {
		if got := c.t.lack(c.asked); !strings.Contains(got, c.want) {
			t.Errorf("%+v, asked for %d: %q, want %q", c.t, c.asked, got, c.want)
		}
	}
}
