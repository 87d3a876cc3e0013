package input

import (
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/twinreel/twinreel/pkg/mpegts"
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
		p.take(time.Duration(sec)*time.Second, s, &prog)
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
	p.take(11*time.Second, &mpegts.Stats{}, &mpegts.Program{})
	if len(p.shown) != 0 || len(p.rates) > 1 {
		t.Errorf("%d PIDs are followed that are gone", len(p.rates))
	}
}

// What an input found is in the list and in the metrics, from media to label.
func TestQualityIsShown(t *testing.T) {
	datagrams := clip(t)
	inBubble(t, func(n *node) {
		n.apply(urlA)
		n.role(urlA, true)
		n.play(datagrams[:300])
		n.play(datagrams[301:])
		time.Sleep(5*time.Second + time.Second/2)
		s := n.List()[0]
		q := s.Quality
		if q.TR101290.ContinuityCountError == 0 || q.LostPackets == 0 || q.LostPackets > 7 || q.Units == 0 || s.ErrorsLastMinute == 0 {
			t.Errorf("quality %+v, %d errors in a minute", q, s.ErrorsLastMinute)
		}
		if s.SilentSeconds != 5 || s.MediaAge < 5*time.Second || s.Activations != 1 || s.ActiveFor < 15*time.Second || s.Reopenings != 0 {
			t.Errorf("silent for %d s, media of %v, active %d times for %v", s.SilentSeconds, s.MediaAge, s.Activations, s.ActiveFor)
		}
		var names []string
		sum := uint64(0)
		for _, p := range s.PIDs {
			names = append(names, p.Name)
			sum += p.ContinuityErrors
			if p.PID == 256 && p.BitsPerSecond == 0 {
				t.Error("no rate of the video")
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
