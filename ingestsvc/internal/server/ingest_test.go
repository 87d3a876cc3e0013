package server

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twinreel/twinreel/ingestsvc/internal/input"
	"github.com/twinreel/twinreel/ingestsvc/internal/ring"
	"github.com/twinreel/twinreel/pkg/clock"
	"github.com/twinreel/twinreel/pkg/grpcx"
	"github.com/twinreel/twinreel/pkg/mpegts"
	ingestv1 "github.com/twinreel/twinreel/proto/twinreel/ingest/v1"
)

type inputs []input.Status

func (x inputs) List() []input.Status { return x }

func TestInputs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		at := time.Now()
		all := inputs{
			{Stream: "one", URL: "udp://239.0.0.1:1", Priority: 2, State: input.Standby, Problem: "no UTF-8: \xFF"},
			{
				Stream: "two", URL: "udp://239.0.0.2:1", Priority: 1, State: input.Failed, Problem: "the port is in use",
				LastReceived: at, Datagrams: 1, Bytes: 2, BitsPerSecond: 3, ContinuityErrors: 4, KernelDrops: 5,
				Ring: ring.Stats{Segments: 7, WholeSegments: 6, Overruns: 5, Sealed: 4, Bytes: 3, Limit: 2},
				Streams: []mpegts.Stream{
					{PID: 256, Codec: mpegts.CodecH264, Name: "H.264"}, {PID: 257, Name: "teletext"},
					{PID: 258, Codec: mpegts.CodecLATM, Name: "AAC (LATM)"},
				},
				PIDErrors: map[uint16]uint64{257: 9},
				Refused:   map[uint16]string{258: "two layers"},
				Program:   7, PacketBytes: 204, GarbageBytes: 8, RTP: true, SequenceLosses: 11, LatePackets: 12, ReorderedPackets: 13,
				SenderRestarts: 14, ForeignDatagrams: 15,
				Legs: []input.LegStatus{
					{URL: "rtp://239.0.0.2:1", Alive: true, Behind: 20 * time.Millisecond, Packets: 16, Lost: 17, Duplicates: 18, Foreign: 19},
					{URL: "rtp://239.0.0.3:1", Problem: "the port is in use"},
				},
				Quality: input.Quality{
					TR101290: mpegts.TR101290{TSSyncLoss: 1, PATError2: 2, CATError: 3}, LostPackets: 11, HiddenLosses: 12,
					ClockJumps: 13, DroppedUnits: 14, Programs: 15, Packets: 24, NullPackets: 25,
				},
				PIDs: []input.PIDQuality{{
					PIDStats: mpegts.PIDStats{PID: 256, Packets: 9, Scrambled: 8}, Name: "H.264", BitsPerSecond: 7,
					Units: input.UnitCounts{Found: 21, Damaged: 22, Lost: 23},
				}},
				OtherPIDs:        input.PIDQuality{PIDStats: mpegts.PIDStats{Packets: 6}},
				Clock:            input.Clock{Constant: true, BitsPerSecond: 5, Accuracy: 4, Jitter: 3},
				ErrorsLastMinute: 16, Fault: input.NoVideo, MediaAge: time.Second, SilentSeconds: 17, Reopenings: 18,
				Activations: 19, ActiveFor: time.Minute,
			},
		}
		pipe := grpcx.NewPipe()
		srv, err := grpcx.NewServer(grpcx.ServerOptions{})
		if err != nil {
			t.Fatal(err)
		}
		ingestv1.RegisterIngestServiceServer(srv, NewIngest(all, clock.System{}))
		go srv.Server.Serve(pipe.Listener())
		defer srv.Stop()
		conn, err := pipe.Dial(grpcx.DialOptions{})
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		c := ingestv1.NewIngestServiceClient(conn)

		got, err := c.ListInputs(t.Context(), &ingestv1.ListInputsRequest{})
		if err != nil || len(got.GetInputs()) != 2 {
			t.Fatalf("all: %v, %v", got, err)
		}
		if one := got.GetInputs()[0]; one.GetStream() != "one" || one.GetState() != "standby" || one.GetLastReceived() != nil ||
			one.GetProblem() != "no UTF-8: \uFFFD" {
			t.Errorf("an input that got nothing: %v", one)
		}
		got, err = c.ListInputs(t.Context(), &ingestv1.ListInputsRequest{Stream: "two"})
		if err != nil || len(got.GetInputs()) != 1 {
			t.Fatalf("one stream: %v, %v", got, err)
		}
		two := got.GetInputs()[0]
		if two.GetState() != "failed" || two.GetProblem() != "the port is in use" || !two.GetLastReceived().AsTime().Equal(at) ||
			two.GetRingSegments() != 4 || two.GetRingBytes() != 3 || two.GetRingLimitBytes() != 2 || two.GetRingOverruns() != 5 ||
			two.GetSegments() != 7 || two.GetWholeSegments() != 6 || two.GetContinuityErrors() != 4 || two.GetKernelDrops() != 5 {
			t.Errorf("counters: %v", two)
		}
		if two.GetProgram() != 7 || two.GetPacketBytes() != 204 || two.GetGarbageBytes() != 8 || !two.GetRtp() ||
			two.GetSequenceLosses() != 11 || two.GetLatePackets() != 12 || two.GetReorderedPackets() != 13 ||
			two.GetSenderRestarts() != 14 || two.GetForeignDatagrams() != 15 {
			t.Errorf("transport: %v", two)
		}
		if l := two.GetLegs(); len(l) != 2 || !l[0].GetAlive() || l[0].GetPackets() != 16 || l[0].GetLostPackets() != 17 ||
			l[0].GetDuplicatePackets() != 18 || l[0].GetForeignPackets() != 19 || l[1].GetProblem() != "the port is in use" ||
			l[1].GetUrl() != "rtp://239.0.0.3:1" || l[0].GetBehind().AsDuration() != 20*time.Millisecond || l[1].GetBehind() != nil {
			t.Errorf("legs: %v", l)
		}
		if tr := two.GetTr101290(); tr.GetTsSyncLoss() != 1 || tr.GetPatError_2() != 2 || tr.GetCatError() != 3 {
			t.Errorf("TR 101 290: %v", tr)
		}
		if p := two.GetPids(); len(p) != 1 || p[0].GetPid() != 256 || p[0].GetName() != "H.264" || p[0].GetPackets() != 9 ||
			p[0].GetScrambled() != 8 || p[0].GetBitsPerSecond() != 7 || p[0].GetAccessUnits() != 21 || p[0].GetDamagedAccessUnits() != 22 || p[0].GetLosses() != 23 ||
			two.GetPackets() != 24 || two.GetNullPackets() != 25 || two.GetOtherPids().GetPackets() != 6 {
			t.Errorf("PIDs: %v, others %v", p, two.GetOtherPids())
		}
		if two.GetLostPackets() != 11 || two.GetHiddenLosses() != 12 || two.GetClockJumps() != 13 || two.GetDroppedAccessUnits() != 14 ||
			two.GetProgramChanges() != 15 || two.GetErrorsLastMinute() != 16 || two.GetSecondsWithoutData() != 17 ||
			two.GetReopenings() != 18 || two.GetActivations() != 19 || two.GetActiveFor().AsDuration() != time.Minute ||
			two.GetMediaAge().AsDuration() != time.Second || two.GetFault() != "no_video" || !two.GetConstantRate() ||
			two.GetConstantBitsPerSecond() != 5 || two.GetPcrAccuracyNanos() != 4 || two.GetPcrJitterNanos() != 3 {
			t.Errorf("quality: %v", two)
		}
		if e := two.GetElementaryStreams(); len(e) != 3 || !e[0].GetRecorded() || e[1].GetRecorded() || e[1].GetContinuityErrors() != 9 ||
			e[2].GetRecorded() || e[2].GetName() != "AAC (LATM): two layers" {
			t.Errorf("elementary streams: %v", e)
		}

		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		watch, err := c.WatchInputs(ctx, &ingestv1.WatchInputsRequest{Stream: "one"})
		if err != nil {
			t.Fatal(err)
		}
		for n := range 3 {
			m, err := watch.Recv()
			if err != nil || len(m.GetInputs()) != 1 {
				t.Fatalf("watch: %v, %v", m, err)
			}
			if d := time.Since(at); d != time.Duration(n)*watchEvery {
				t.Errorf("answer %d came after %v", n, d)
			}
		}
	})
}
