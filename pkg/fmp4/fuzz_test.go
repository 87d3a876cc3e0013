package fmp4_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"slices"
	"testing"

	"github.com/twinreel/twinreel/pkg/fmp4"
	"github.com/twinreel/twinreel/pkg/timeline"
)

// FuzzParseChunk holds I3 and I4: what is accepted is AppendChunk's, but for the one patch that is allowed.
func FuzzParseChunk(f *testing.F) {
	for _, c := range chunkCases() {
		data := c.bytes()
		f.Add(data)
		patched := slices.Clone(data)
		if err := fmp4.PatchTfdt(patched, fmp4.TfdtOffset, 3<<33); err != nil {
			f.Fatal(err)
		}
		f.Add(patched)
	}
	for _, data := range hostileChunks() {
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		chunks, splitErr := split(data)
		if splitErr != nil && !errors.Is(splitErr, fmp4.ErrMalformed) {
			t.Fatalf("split: %v", splitErr)
		}
		if all := slices.Concat(chunks...); !bytes.HasPrefix(data, all) || splitErr == nil && len(all) != len(data) {
			t.Fatalf("split into %x", chunks)
		}
		c, err := fmp4.ParseChunk(data)
		if err != nil {
			if !errors.Is(err, fmp4.ErrMalformed) {
				t.Fatalf("parse: %v", err)
			}
			return
		}
		if len(chunks) != 1 || splitErr != nil {
			t.Fatalf("one chunk was split into %d, %v", len(chunks), splitErr)
		}
		checkSamples(t, c)

		// The sequence number tells T before the patch; without a patch, T is the decode time.
		written := c.Start
		if seq := binary.BigEndian.Uint32(data[20:]); seq != uint32(c.Start/timeline.ChunkTicks) {
			written = timeline.Ticks(seq) * timeline.ChunkTicks
		}
		again := fmp4.AppendChunk(nil, c.Kind, c.PID, written, c.Samples, c.Payload)
		if err := fmp4.PatchTfdt(again, fmp4.TfdtOffset, c.Start-written); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(again, data) {
			t.Fatalf("written again: got %x, want %x", again, data)
		}
	})
}

// FuzzComposeMoov holds I4.
func FuzzComposeMoov(f *testing.F) {
	cases := initCases(f)
	for _, a := range cases {
		f.Add(a.data, cases[0].data)
	}
	for _, data := range hostileInits(f) {
		f.Add(data, cases[1].data)
	}
	f.Fuzz(func(t *testing.T, a, b []byte) {
		accepted := true
		for _, data := range [][]byte{a, b} {
			one, err := fmp4.ComposeMoov(data)
			if _, trackErr := fmp4.InitTrack(data); err != nil && trackErr == nil {
				t.Fatalf("a track of what does not parse: %v", err)
			}
			if err != nil {
				if accepted = false; !errors.Is(err, fmp4.ErrMalformed) {
					t.Fatal(err)
				}
				continue
			}
			if again, err := fmp4.ComposeMoov(one); err != nil || !bytes.Equal(again, one) {
				t.Fatalf("composed of one, then again: got %x, %v, want %x", again, err, one)
			}
		}
		both, err := fmp4.ComposeMoov(a, b)
		if (err == nil) != accepted || len(both) > len(a)+len(b) {
			t.Fatalf("%d bytes of %d and %d, %v", len(both), len(a), len(b), err)
		}
		if _, err := fmp4.ComposeMoov(both); !errors.Is(err, fmp4.ErrMalformed) {
			t.Fatalf("a movie box of two tracks taken for an init segment: %v", err)
		}
	})
}

// FuzzH264 holds I4 for the parsers of NAL units.
func FuzzH264(f *testing.F) {
	for _, c := range spsCases() {
		f.Add(c.sps.nal(), pps(0, 0))
	}
	for _, c := range recoveryPoints() {
		f.Add(sps{width: 4, height: 4}.nal(), c.nal)
	}
	f.Fuzz(func(t *testing.T, a, b []byte) {
		fmp4.RecoveryPointNow(b)
		data, _, err := fmp4.H264Init(videoPID, "", [][]byte{a}, [][]byte{b})
		checkVideoInit(t, data, err)
	})
}

// FuzzHEVC holds I4 for the parsers of NAL units.
func FuzzHEVC(f *testing.F) {
	for _, c := range hevcCases() {
		f.Add(hevcVPS(0), c.sps, hevcPPS(0))
	}
	f.Fuzz(func(t *testing.T, a, b, c []byte) {
		fmp4.HEVCNALType(a)
		data, _, err := fmp4.HEVCInit(videoPID, "", [][]byte{a}, [][]byte{b}, [][]byte{c})
		checkVideoInit(t, data, err)
	})
}

// FuzzMPEGVideo holds I4 for the headers of MPEG video.
func FuzzMPEGVideo(f *testing.F) {
	for _, c := range mpegVideoCases() {
		f.Add(c.sequence, c.extension, c.display)
	}
	f.Fuzz(func(t *testing.T, a, b, c []byte) {
		data, _, err := fmp4.MPEGVideoInit(videoPID, "", a, b, c)
		checkVideoInit(t, data, err)
	})
}

func checkVideoInit(t *testing.T, data []byte, err error) {
	t.Helper()
	if err != nil {
		if !errors.Is(err, fmp4.ErrParameterSyntax) && !errors.Is(err, fmp4.ErrParameterTooLong) {
			t.Fatal(err)
		}
		return
	}
	if pid, err := fmp4.InitTrack(data); err != nil || pid != videoPID {
		t.Fatalf("track %d, %v", pid, err)
	}
}
