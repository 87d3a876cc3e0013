package scte35

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"testing"
)

// describe is a section in a line.
func describe(s *Section) string {
	t := func(v *uint64) string {
		if v == nil {
			return "-"
		}
		return fmt.Sprint(*v)
	}
	out := CommandName(s.Command)
	if s.Encrypted {
		return "encrypted"
	}
	if i := s.Insert; i != nil {
		out += fmt.Sprintf(" %#x cancel %t out %t now %t at %s for %s return %t program %d avail %d/%d",
			i.EventID, i.Cancel, i.Out, i.Immediate, t(i.Time), t(i.Duration), i.AutoReturn, i.ProgramID, i.Avail, i.Avails)
	}
	if s.Command == TimeSignal {
		out += " at " + t(s.Time)
	}
	for _, g := range s.Segmentations {
		out += fmt.Sprintf("; %#x cancel %t type %#x for %s upid %d %x, %d/%d", g.EventID, g.Cancel, g.Type, t(g.Duration), g.UPIDType, g.UPID, g.Number, g.Expected)
	}
	return out
}

// withCRC fixes the length and the CRC of a section that is written without them.
func withCRC(h string) []byte {
	b, err := hex.DecodeString(strings.ReplaceAll(h, " ", ""))
	if err != nil {
		panic(err)
	}
	binary.BigEndian.PutUint16(b[1:], 0x3000|uint16(len(b)-3+4))
	return binary.BigEndian.AppendUint32(b, crc32(b))
}

func fromBase64(s string) []byte {
	b, err := base64.StdEncoding.DecodeString(s)
	if err != nil {
		panic(err)
	}
	return b
}

// cases: the first are the examples of SCTE 35, clause 14.
func cases() []struct {
	b    []byte
	want string // "": malformed
} {
	const head = "FC 3000 00 00 00000000 00 FFF"
	return []struct {
		b    []byte
		want string
	}{
		{fromBase64("/DA0AAAAAAAA///wBQb+cr0AUAAeAhxDVUVJSAAAjn/PAAGlmbAICAAAAAAsoKGKNAIAmsnRfg=="),
			"time_signal at 1924989008; 0x4800008e cancel false type 0x34 for 27630000 upid 8 000000002ca0a18a, 2/0"},
		{fromBase64("/DAvAAAAAAAA///wFAVIAACPf+/+c2nALv4AUsz1AAAAAAAKAAhDVUVJAAABNWLbowo="),
			"splice_insert 0x4800008f cancel false out true now false at 1936310318 for 5426421 return true program 0 avail 0/0"},
		{fromBase64("/DAvAAAAAAAA///wBQb+dGKQoAAZAhdDVUVJSAAAjn+fCAgAAAAALKChijUCAKnMZ1g="),
			"time_signal at 1952616608; 0x4800008e cancel false type 0x35 for - upid 8 000000002ca0a18a, 2/0"},
		{fromBase64("/DBIAAAAAAAA///wBQb+ek2ItgAyAhdDVUVJSAAAGH+fCAgAAAAALMvDRBEAAAIXQ1VFSUgAABl/nwgIAAAAACyk26AQAACZcuND"),
			"time_signal at 2051901622; 0x48000018 cancel false type 0x11 for - upid 8 000000002ccbc344, 0/0; 0x48000019 cancel false type 0x10 for - upid 8 000000002ca4dba0, 0/0"},
		{withCRC(head + "000 00 0000"), "splice_null"},
		{withCRC(head + "FFF 00 0000"), "splice_null"}, // from before commands had a length
		{withCRC(head + "005 05 00000001FF 0000"), "splice_insert 0x1 cancel true out false now false at - for - return false program 0 avail 0/0"},
		{withCRC(head + "00A 05 000000017F5F 0007 0102 0000"), "splice_insert 0x1 cancel false out false now true at - for - return false program 7 avail 1/2"},
		// Components: the first time counts.
		{withCRC(head + "017 05 00000001 7F 8F 02 01 FE00000009 02 FE0000000A 0007 0102 0000"),
			"splice_insert 0x1 cancel false out true now false at 9 for - return false program 7 avail 1/2"},
		// pts_adjustment wraps.
		{withCRC("FC 3000 00 01 FFFFFFFF 00 FFF 005 06 FE 00000003 0000"), "time_signal at 2"},
		{withCRC(head + "001 06 7F 0000"), "time_signal at -"},
		{withCRC("FC 3000 00 80 00000000 00 FFF 005 06 DEADBEEF 00"), "encrypted"},
		{withCRC(head + "004 FF 43554549 0000"), "private_command"},
		{withCRC(head + "FFF FF 43554549 0000"), ""}, // nobody knows how long it is
		{withCRC(head + "005 06 FE 0000"), ""},
		{withCRC(head + "000 00 0003 02 05 43"), ""},
		// A segmentation descriptor that is shorter than what it says costs itself alone.
		{withCRC(head + "000 00 000A 02 08 43554549 00000001"), "splice_null"},
		{withCRC(head + "00A 05 000000017F5F 0007 0102 0010 02 05 43554549 00 02 07 43554549 000001"),
			"splice_insert 0x1 cancel false out false now true at - for - return false program 7 avail 1/2"},
		{withCRC(head + "000 00 0006 01 04 43554549"), "splice_null"}, // another descriptor
	}
}

func TestParse(t *testing.T) {
	for i, c := range cases() {
		s, err := Parse(c.b)
		if err != nil {
			if c.want != "" || !errors.Is(err, ErrMalformed) {
				t.Errorf("case %d: %v, want %q", i, err, c.want)
			}
			continue
		}
		if got := describe(s); got != c.want {
			t.Errorf("case %d: got\n%s, want\n%s", i, got, c.want)
		}
		for at := range c.b {
			b := append([]byte(nil), c.b...)
			if b[at] ^= 0x10; at > 2 {
				if _, err := Parse(b); !errors.Is(err, ErrCRC) {
					t.Fatalf("case %d: byte %d is wrong, and %v", i, at, err)
				}
			}
			if _, err := Parse(c.b[:at]); err == nil {
				t.Fatalf("case %d is accepted with %d bytes", i, at)
			}
		}
	}
}

// FuzzParse holds I1 to I3. A wrong CRC ends it at once, so what is given is tried with the right one too.
func FuzzParse(f *testing.F) {
	for _, c := range cases() {
		f.Add(c.b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		for range 2 {
			s, err := Parse(b)
			switch {
			case err == nil:
				if s.Encrypted && (s.Insert != nil || s.Time != nil || s.Segmentations != nil) {
					t.Fatal("it reads what is encrypted")
				}
				if len(s.Segmentations)*11 > len(b) {
					t.Fatalf("%d descriptors in %d bytes", len(s.Segmentations), len(b))
				}
				for _, p := range []*uint64{s.Time} {
					if p != nil && *p > timeMask {
						t.Fatalf("time %d", *p)
					}
				}
			case !errors.Is(err, ErrCRC) && !errors.Is(err, ErrMalformed):
				t.Fatal(err)
			}
			if len(b) < 20 || len(b) > 4000 {
				return
			}
			b = append([]byte(nil), b[:len(b)-4]...)
			binary.BigEndian.PutUint16(b[1:], 0x3000|uint16(len(b)-3+4))
			b = binary.BigEndian.AppendUint32(b, crc32(b))
		}
	})
}
