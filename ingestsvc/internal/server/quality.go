package server

import (
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/twinreel/twinreel/ingestsvc/internal/input"
	ingestv1 "github.com/twinreel/twinreel/proto/twinreel/ingest/v1"
)

// quality tells what was found in the packets of an input.
func quality(m *ingestv1.Input, s *input.Status) {
	q, t := &s.Quality, &s.Quality.TR101290
	m.Tr101290 = &ingestv1.Tr101290{
		TsSyncLoss: t.TSSyncLoss, SyncByteError: t.SyncByteError, PatError_2: t.PATError2,
		ContinuityCountError: t.ContinuityCountError, PmtError_2: t.PMTError2, PidError: t.PIDError,
		TransportError: t.TransportError, CrcError: t.CRCError, PcrRepetitionError: t.PCRRepetitionError,
		PcrDiscontinuityIndicatorError: t.PCRDiscontinuityIndicatorError, PcrAccuracyError: t.PCRAccuracyError,
		PtsError: t.PTSError, CatError: t.CATError,
	}
	for i := range s.PIDs {
		m.Pids = append(m.Pids, pidCounters(&s.PIDs[i]))
	}
	m.OtherPids = pidCounters(&s.OtherPIDs)
	m.ErrorsLastMinute, m.LostPackets, m.HiddenLosses = s.ErrorsLastMinute, q.LostPackets, q.HiddenLosses
	m.PesErrors, m.SyntaxErrors, m.AdaptationErrors = q.PESErrors, q.SyntaxErrors, q.Adaptation
	m.Packets, m.NullPackets = q.Packets, q.NullPackets
	m.AccessUnits, m.DroppedAccessUnits = q.Units, q.DroppedUnits
	m.ClockJumps, m.ProgramChanges = q.ClockJumps, q.Programs
	m.Reopenings, m.Panics, m.SecondsWithoutData = s.Reopenings, s.Panics, s.SilentSeconds
	if s.MediaAge >= 0 {
		m.MediaAge = durationpb.New(s.MediaAge)
	}
	m.ConstantRate, m.ConstantBitsPerSecond = s.Clock.Constant, s.Clock.BitsPerSecond
	m.PcrAccuracyNanos, m.PcrJitterNanos = int64(s.Clock.Accuracy), int64(s.Clock.Jitter)
	m.Fault, m.Activations, m.ActiveFor = string(s.Fault), s.Activations, durationpb.New(s.ActiveFor)
}

func pidCounters(p *input.PIDQuality) *ingestv1.PidCounters {
	return &ingestv1.PidCounters{
		Pid: uint32(p.PID), Name: p.Name, Packets: p.Packets, BitsPerSecond: p.BitsPerSecond,
		ContinuityErrors: p.ContinuityErrors, Duplicates: p.Duplicates, Discontinuities: p.Discontinuities,
		TransportErrors: p.TransportErrors, Scrambled: p.Scrambled, CrcErrors: p.CRCErrors,
		PidErrors: p.PIDErrors, PtsErrors: p.PTSErrors,
		AccessUnits: p.Units.Found, DamagedAccessUnits: p.Units.Damaged, Losses: p.Units.Lost,
	}
}
